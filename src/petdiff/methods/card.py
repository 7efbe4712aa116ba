"""The model card: a description of the model, as JSON in the header of its weights file.

The card has every constant that affects the output. A new default in the code therefore changes no
model that was saved before. Cards of petdiff 0.1 (version 1) lack some constants, which are set to
their values in that version.
"""

from __future__ import annotations

import json
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, JsonValue, ValidationError

from petdiff.errors import InputRefused, first_error

VERSION = 2
Domain = Literal["local_activity", "clipped_suv", "log_suv", "suv"]
Part = TypeVar("Part", bound=BaseModel)


class ModelCard(BaseModel, frozen=True, extra="forbid"):
    """The architecture, constants, training and limits of a model.

    title         for display; empty: the name of its file
    method        a key of the registry
    domain        of the network: local_activity, clipped_suv, log_suv, or suv (unchanged)
    architecture  of the network
    constants     all other numbers that affect the output
    training      training data, duration and measured scores
    limits        scans for which the model was not trained or is known to perform badly
    licence       of the weights
    """

    version: Literal[2] = 2
    title: str = Field(max_length=200, default="")
    method: str = Field(max_length=64)
    domain: Domain
    architecture: dict[str, JsonValue]
    constants: dict[str, JsonValue]
    training: dict[str, JsonValue] = {}
    limits: str = Field(max_length=10_000, default="")
    licence: str = Field(max_length=200, default="Apache-2.0")

    @property
    def training_patients(self) -> frozenset[str]:
        """The fingerprints of the training patients' full-dose scans; may be empty."""
        listed = self.training.get("patients")
        names = listed if isinstance(listed, list) else []
        return frozenset(one for one in names if isinstance(one, str))


def card_from_json(text: str) -> ModelCard:
    """Return the card in a header. Raises InputRefused, with one line, if it is invalid."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"unreadable model card (no JSON: {str(error)[:200]})") from error
    if not isinstance(held, dict):
        raise InputRefused("unreadable model card (not a JSON object)")
    if "version" not in held:
        held = _from_version_1(held)
    try:
        return ModelCard.model_validate(held)
    except ValidationError as error:
        raise InputRefused(f"unreadable model card ({first_error(error)})") from error


def part_of_card(
    kind: type[Part], card: ModelCard, name: Literal["architecture", "constants"]
) -> Part:
    """Return a part of a card as `kind`.

    Raises InputRefused, naming the entry, if an entry is invalid or missing. A missing entry is not
    replaced by a default of the code.
    """
    where = f"{name} of {card.method}"
    try:
        part = kind.model_validate(getattr(card, name))
    except ValidationError as error:
        raise InputRefused(f"model card, {where}: {first_error(error)}") from error
    if missing := _first_missing(part):
        raise InputRefused(f"model card, {where}: {missing}: missing")
    return part


def _first_missing(part: BaseModel) -> str:
    """Return the path of the first field that was not given, or ""."""
    for name in type(part).model_fields:
        if name not in part.model_fields_set:
            return name
        value = getattr(part, name)
        if isinstance(value, BaseModel) and (inner := _first_missing(value)):
            return f"{name}.{inner}"
    return ""


# Version 1: constants of the code of petdiff 0.1 that its cards lack. They must never be changed.
_VOXELS_1: dict[str, JsonValue] = {"least_mm": 1.0, "most_mm": 6.0, "anisotropy": 2.0}
_DDPM_1: dict[str, JsonValue] = {"tile": None, "precision": "float32"}  # before they could be set
_FLOW3D_1: dict[str, JsonValue] = {
    "sigma_data": 0.3,
    "trusted_noise": 0.1,
    "gate_reach": 1.25,
    "sampling_sigmas": [0.004, 0.6],
    "sampling_steps": 6,
    "voxels": _VOXELS_1,
    "domain": {
        "near": 2.0, "far": 6.0, "context": 4.0, "fine": 1.0, "finest": 0.6,
        "far_share": 0.03, "floor": 1e-3,
        "passes": ["near", "near", "fine", "fine", "finest"],
        "leeway": 0.005, "most_factor": 10.0,
        "half_trusted_noise_fine": 0.45, "half_trusted_noise_finest": 0.12, "trust_steepness": 4.0,
        "regional_noise": 0.2,
        "noise_power": 0.4, "most_log_noise": 0.3, "log_noise_centre": -1.9,
        "noise_window": 8, "most_anatomy": 8.0, "colour": 2.2, "colour_power": 0.65,
    },
}  # fmt: skip


def _from_version_1(held: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Convert a card of version 1 to version 2."""
    rest = {key: value for key, value in held.items() if key != "process"}
    process, method = held.get("process", {}), held.get("method")
    if not isinstance(process, dict):
        raise InputRefused("unreadable model card (process: not a JSON object)")
    domain = "clipped_suv"
    if method == "flow3d":
        domain, constants = "local_activity", _FLOW3D_1 | process
    else:
        constants = {**process, "voxels": _VOXELS_1}
        if method in ("ddpm3d", "ddpm2d"):
            constants = _DDPM_1 | constants
        elif method == "logunet":
            domain = "log_suv"
        elif method in ("unet3d", "gan3d"):
            constants["clip_suv"] = 16.0
    return {**rest, "version": VERSION, "domain": domain, "constants": constants}
