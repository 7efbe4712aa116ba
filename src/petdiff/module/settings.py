"""The settings of a module, checked before any image is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from petdiff.errors import UsageError, nearest
from petdiff.inference.options import DenoiseOptions, Seed, Steps
from petdiff.units import drf_of


class ModuleSettings(BaseModel, frozen=True, extra="forbid"):
    """How series are denoised, and when the router sends a notification.

    model          name of a shipped model, or a .safetensors file within the container
    steps          calls of the network per sample; None: the model's own number
    dose           the scans' share of the full dose, 1/4, 25% or 0.25; None: not known
    seed           of the noise that sampling starts from
    device         auto, cpu, cuda, cuda:N or mps
    series_prefix  put before the SeriesDescription of the source
    notify         when a notification is requested: for problems, always or never
    """

    model: str = Field(default="flow3d", min_length=1)
    steps: Steps | None = None
    dose: str | float | None = None
    seed: Seed = 0
    device: str = "auto"
    series_prefix: str = Field(default="petdiff ", max_length=40)
    notify: Literal["problems", "always", "never"] = "problems"

    @field_validator("dose")
    @classmethod
    def _is_share(cls, dose: str | float | None) -> str | float | None:
        try:
            low = dose is None or drf_of(str(dose)) > 1
        except UsageError:
            low = False
        if not low:
            raise ValueError("give a share of the full dose below 1, as 1/4, 25% or 0.25")
        return dose

    @classmethod
    def of(cls, given: Mapping[str, object]) -> ModuleSettings:
        """Return the settings from names and values. Raises UsageError that names a wrong one."""
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"][:1])
            if first["type"] == "extra_forbidden":
                known = nearest(name, cls.model_fields)
                raise UsageError(f"{name} is not a setting of petdiff{known}") from None
            reason = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"the setting {name} is {first['input']!r}: {reason}") from None

    def options(self) -> DenoiseOptions:
        """Return the options of `petdiff.denoise`."""
        return DenoiseOptions.of(
            {
                "steps": self.steps,
                "drf": None if self.dose is None else drf_of(str(self.dose)),
                "seed": self.seed,
                "device": self.device,
            }
        )
