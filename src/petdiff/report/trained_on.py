"""Read the training data and steps from a model card of any version."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError, field_validator

SIMULATED = "simulated scans"
_NOT_STATED = "not stated"
_PATHS = ("/", "~", "\\\\")
_MAX_CHARACTERS = 400


class TrainedOn(BaseModel, frozen=True, extra="ignore"):
    """The training data as text ("" if not stated), and the number of steps."""

    data: str = ""
    steps: int | None = None

    @field_validator("data", mode="before")
    @classmethod
    def _in_words(cls, given: object) -> str:
        """Return text for the entries of older cards: a kind, alone or in a table; no paths."""
        kind = given.get("kind") if isinstance(given, Mapping) else given
        known = {"clinic": SIMULATED, "simulated": SIMULATED, "pairs": "pairs of scans"}
        if not isinstance(kind, str):
            return ""
        return known.get(
            kind,
            "" if isinstance(given, Mapping) or kind.startswith(_PATHS) else kind[:_MAX_CHARACTERS],
        )

    @property
    def is_simulated(self) -> bool:
        return self.data.startswith(SIMULATED)

    @property
    def sentence(self) -> str:
        """The data and the steps, as one line of a table."""
        steps = f", {self.steps:,} steps" if self.steps else ""
        return (self.data or _NOT_STATED) + steps


def trained_on(training: object) -> TrainedOn:
    """Return the content of the `training` entry of a card; empty if it is invalid."""
    if not isinstance(training, Mapping):
        return TrainedOn()
    recipe = training.get("recipe")
    planned = recipe.get("steps") if isinstance(recipe, Mapping) else None
    steps = training.get("steps", planned)
    try:
        return TrainedOn.model_validate({"data": training.get("data", ""), "steps": steps})
    except ValidationError:
        return TrainedOn.model_validate({"data": training.get("data", "")})
