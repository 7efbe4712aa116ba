"""The model card of a trained model: title, licence, limits and training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff import __version__
from petdiff.data.layouts import PairFiles, dose_text, in_order
from petdiff.methods.card import ModelCard
from petdiff.training.data import TrainingData
from petdiff.training.recipe import MAY_CHANGE, Recipe
from petdiff.training.supply.full_dose import HIGHEST_FACTOR, LOWEST_FACTOR
from petdiff.units import counted

if TYPE_CHECKING:
    from petdiff.methods.base import Method
    from petdiff.methods.model import Model
    from petdiff.training.loop import State

_NOT_STATED = "not stated"
_SIMULATED = "simulated scans of virtual patients and of abstract bodies; no patient data"
_LIMITS = {
    "simulated": "Trained on simulated scans alone, and evaluated on no pair of real scans by "
    "petdiff. ",
    "pairs": "Trained on one data set, and evaluated on no other by petdiff. ",
    "full dose": "Trained on full-dose scans of one data set, whose low-dose scans were made by "
    "thinning, and evaluated on no other by petdiff. ",
}
_UNCALIBRATED = (
    "The intervals and the alarm of the starting model belong to its weights: this model has no "
    "calibrated intervals until it is calibrated itself. "
)
_RESEARCH = "For research, not for diagnosis. Can remove faint lesions."


@dataclass(frozen=True)
class StartingModel:
    """The model whose weights a run starts from.

    name      file name without folders
    patients  fingerprints of its training patients
    """

    name: str
    sha256: str
    licence: str
    patients: Sequence[str] = ()

    @classmethod
    def of(cls, model: Model) -> StartingModel:
        """Return the name, licence and training patients of a loaded model."""
        card = model.card
        patients = sorted(card.training_patients)
        return cls(Path(model.name).name, model.sha256, card.licence, patients)


@dataclass(frozen=True)
class Origin:
    """The training data and the starting model of a run.

    patients  fingerprints of the full-dose scans in the training data
    """

    data: TrainingData
    base: StartingModel | None = None
    patients: Sequence[str] = ()


def model_card(method: Method, recipe: Recipe, origin: Origin, state: State) -> ModelCard:
    """Return the card of a finished run's model, without paths and patients' names."""
    used_step = state.step if state.best is None else state.best
    base = origin.base
    training: dict[str, object] = {
        "petdiff": __version__,
        "data": describe_data(origin, recipe),
        "patients": sorted({*origin.patients, *(base.patients if base else ())}),
        "step": used_step,
        "steps": state.step,
        "patches": state.step * recipe.batch,
        "seconds": round(state.seconds, 1),
        "psnr_db": state.scores.get(used_step),
        "recipe": recipe.model_dump(mode="json", exclude={*MAY_CHANGE, "init"}),
    }
    if base is not None:
        training["init"] = {"model": base.name, "sha256": base.sha256, "licence": base.licence}
    card = method.card(training)
    return card.model_copy(
        update={
            "title": recipe.name or _title(card.method, origin),
            "licence": recipe.licence or _licence(base),
            "limits": _LIMITS[origin.data.kind] + (_UNCALIBRATED if base else "") + _RESEARCH,
        }
    )


def describe_data(origin: Origin, recipe: Recipe) -> str:
    """Describe the training data of a model: scans, doses and the starting model."""
    data = origin.data
    words = _SIMULATED
    if data.kind == "pairs":
        doses = Counter(drf for files in data.train for drf in files.lows)
        listed = ", ".join(f"{doses[drf]} at {dose_text(drf)}" for drf in in_order(doses))
        patients = _patients(data.train)
        words = f"{sum(doses.values())} pairs of scans of {patients} ({listed})"
        if data.held_out:
            words += f"; validated on {_patients(data.held_out)} more"
    elif data.kind == "full dose":
        range_ = f"1/{LOWEST_FACTOR:g} to 1/{HIGHEST_FACTOR:g}"
        words = f"{_full_dose_scans(origin)}, thinned to {range_} of their dose"
        words += "; validated on scans of other patients" if recipe.validate_every else ""
    if data.kind != "simulated" and recipe.simulated_share:
        words += f"; {recipe.simulated_share:.0%} of the training volumes simulated"
    if origin.base:
        words += f"; started from the weights of {origin.base.name}"
        words += f" and mixed with {recipe.init_share:.0%} of them" if recipe.init_share else ""
    return words


def _title(method: str, origin: Origin) -> str:
    source = {
        "simulated": "simulated scans",
        "pairs": f"pairs of {_patients(origin.data.train)}",
        "full dose": _full_dose_scans(origin),
    }[origin.data.kind]
    return f"{method} {'fine-tuned' if origin.base else 'trained'} on {source}"


def _licence(base: StartingModel | None) -> str:
    return f"{_NOT_STATED}; base model {base.name}: {base.licence}" if base else _NOT_STATED


def _patients(pairs: Sequence[PairFiles]) -> str:
    return counted(len({files.patient for files in pairs}), "patient")


def _full_dose_scans(origin: Origin) -> str:
    return counted(len(origin.patients), "full-dose scan")
