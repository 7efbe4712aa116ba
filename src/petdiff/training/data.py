"""Finds what a run is trained on: simulated scans, or the user's own pairs of scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from petdiff.data.pairs import PairFiles, find_pairs, split
from petdiff.errors import InputRefused, UsageError
from petdiff.io import Units
from petdiff.simulation.patient.tracers import get_tracer
from petdiff.simulation.scanner.scanners import get_scanner
from petdiff.training.recipe import Recipe


@dataclass(frozen=True)
class DataOptions:
    """Where the user's own pairs lie, and their unit.

    folder  None: scans are simulated
    units, suv_factor  of all scans, as in petdiff.read
    """

    folder: Path | None = None
    units: Units | None = None
    suv_factor: float | None = None

    @property
    def stated(self) -> dict[str, str | float]:
        """The unit and factor, if given."""
        given = {"units": self.units, "suv_factor": self.suv_factor}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class TrainingData:
    """The user's own pairs for training and for validation; empty for simulated scans.

    stated  unit and factor of all scans, if given
    """

    train: Sequence[PairFiles] = ()
    held_out: Sequence[PairFiles] = ()
    stated: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def is_simulated(self) -> bool:
        """Whether scans are simulated."""
        return not self.train

    @property
    def identity(self) -> dict[str, str | float | list[str]]:
        """What a run may not change when it is resumed; holds patients' folder names."""
        if self.is_simulated:
            return {"kind": "simulated"}
        return {
            "kind": "pairs",
            **self.stated,
            "train": [files.patient for files in self.train],
            "held_out": [files.patient for files in self.held_out],
        }


def find_data(options: DataOptions, recipe: Recipe, say: Callable[[str], object]) -> TrainingData:
    """Return the pairs in a folder, or simulated scans where there is none.

    say  called with each line that a person should see: which layout was recognised

    Raises UsageError where folder and recipe do not fit, InputRefused where nothing is usable.
    """
    folder, stated = options.folder, options.stated
    if folder is None:
        if stated:
            raise UsageError(f"`{next(iter(stated))}` is for your own pairs: give `data` too")
        _require_known_scanner(recipe)
        return TrainingData()
    if not folder.is_dir():
        raise UsageError(
            f"`data` is {folder}: not a folder of pairs; leave it out to train on simulated scans"
        )
    if recipe.scanner:
        raise UsageError(f"scanner and tracer choose among simulated scans, not those of {folder}")
    pairs = find_pairs(folder, say=say, units=options.units, suv_factor=options.suv_factor)
    if not recipe.validate_every:
        return TrainingData(pairs, (), stated)
    if len(pairs) < 2:
        raise InputRefused(
            f"{folder} holds one patient, and validation needs patients that are not trained on: "
            "add patients, or set validate_every = 0 in the recipe to train without validation"
        )
    return TrainingData(*split(pairs, recipe.held_out, recipe.seed), stated)


def _require_known_scanner(recipe: Recipe) -> None:
    if recipe.scanner:
        get_scanner(recipe.scanner)  # both raise UsageError for unknown names
        get_tracer(recipe.tracer)
