"""Find the training data: the user's own pairs or full-dose scans, or simulated scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from petdiff.data.full_dose import FullDoseScan, find_full_dose
from petdiff.data.layouts import NoPairs
from petdiff.data.pairs import Item, PairFiles, find_pairs, split
from petdiff.errors import InputRefused, UsageError
from petdiff.io import Units
from petdiff.simulation.patient.tracers import get_tracer
from petdiff.simulation.scanner.scanners import get_scanner
from petdiff.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingData:
    """The user's own scans for training and for validation; all empty for simulated scans.

    train, held_out  pairs for training and for validation
    scans            full-dose scans without low-dose scans; empty if there are pairs. They are
                     split into training and validation after their suitability was checked
    stated           unit and factor of all scans, if given
    """

    train: Sequence[PairFiles] = ()
    held_out: Sequence[PairFiles] = ()
    scans: Sequence[FullDoseScan] = ()
    stated: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["simulated", "pairs", "full dose"]:
        """The kind of training data."""
        return "pairs" if self.train else "full dose" if self.scans else "simulated"

    def identity(self, recipe: Recipe) -> dict[str, str | float | list[str]]:
        """Return the data settings that must not change when a run is resumed: folder names, too.

        Full-dose scans are split later. Without validation all of them are for training.
        """
        if self.kind == "simulated":
            return {"kind": self.kind}
        if self.kind == "full dose":
            scans = [scan.name for scan in self.scans]
            all_for_training = {} if recipe.validate_every else {"held_out": list[str]()}
            return {"kind": self.kind, **self.stated, "scans": scans, **all_for_training}
        return {
            "kind": self.kind,
            **self.stated,
            "train": [files.name for files in self.train],
            "held_out": [files.name for files in self.held_out],
        }


def find_data(
    folder: Path | None,
    recipe: Recipe,
    notify: Callable[[str], object],
    *,
    units: Units | None = None,
    suv_factor: float | None = None,
) -> TrainingData:
    """Return the pairs or full-dose scans in a folder, or simulated scans if there is no folder.

    notify  called with lines for the user, such as the layout that was recognised
    units, suv_factor  of all scans in the folder, as in petdiff.read

    Raises UsageError if folder and recipe contradict each other, InputRefused if no scan is usable.
    """
    given: dict[str, str | float | None] = {"units": units, "suv_factor": suv_factor}
    stated = {name: value for name, value in given.items() if value is not None}
    if folder is None:
        if stated:
            raise UsageError(f"`{next(iter(stated))}` is for your own scans: give `data` too")
        _require_known_scanner(recipe)
        return TrainingData()
    if not folder.is_dir():
        raise UsageError(
            f"`data` is {folder}: not a folder of scans; leave it out to train on simulated scans"
        )
    if recipe.scanner:
        raise UsageError(f"scanner and tracer choose among simulated scans, not those of {folder}")
    try:
        pairs = find_pairs(folder, notify=notify, units=units, suv_factor=suv_factor)
    except NoPairs as no_pairs:
        scans = find_full_dose(folder, notify=notify, units=units, suv_factor=suv_factor)
        if not scans:
            message = f"{no_pairs}; or full-dose scans alone, of two patients or more"
            raise InputRefused(message) from None
        return TrainingData(scans=scans, stated=stated)
    return TrainingData(*split_patients(folder, pairs, recipe), stated=stated)


def split_patients(
    where: Path | str, scans: Sequence[Item], recipe: Recipe
) -> tuple[Sequence[Item], Sequence[Item]]:
    """Split scans into training and validation, with no patient in both.

    where  the folder of the scans, for the message

    Raises InputRefused for a single patient, unless the recipe has no validation.
    """
    if not recipe.validate_every:
        return scans, ()
    if len({one.patient for one in scans}) < 2:
        raise InputRefused(
            f"{where} holds one patient, and validation needs other patients than training: add "
            "patients, name the folder that has a folder for each patient, or set validate_every = "
            "0 in the recipe to train without validation"
        )
    return split(scans, recipe.held_out, recipe.seed)


def _require_known_scanner(recipe: Recipe) -> None:
    if recipe.scanner:
        get_scanner(recipe.scanner)  # both raise UsageError for unknown names
        get_tracer(recipe.tracer)
