"""The options of a denoising run. They are validated once and written to its record."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypedDict, cast

from pydantic import BaseModel, Field, ValidationError, field_validator

from petdiff.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "int8"]
Millimetres = tuple[float, float, float]
Steps = Annotated[int, Field(ge=1, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]  # torch takes 64 bits


class DenoiseSettings(TypedDict, total=False):
    """The keyword arguments of `petdiff.denoise`: the fields of DenoiseOptions."""

    steps: int | None
    samples: int | None
    drf: float | None
    seed: int
    device: str
    voxel_mm: Millimetres | None
    precision: Precision
    tile: int | None


class DenoiseOptions(BaseModel, frozen=True, extra="forbid"):
    """The settings with which a scan is denoised.

    steps      network calls for each sample; None: the model's own number
    samples    number of samples; with 2 or more their standard deviation gives the uncertainty.
               None: the model's own number
    drf        dose reduction factor of the scan, 20 at 1/20 of the full dose; None: not known
    seed       of the noise that sampling starts from
    device     auto, cpu, cuda, cuda:N or mps
    voxel_mm   voxel size of the network's grid, in mm; None: that of the scan, if the model was
               trained with such voxels
    precision  of the network's arithmetic; int8: its convolutions in 8-bit integers, on a CPU
    tile       planes of a slab, or side of a window in voxels; None: a fast size that fits memory
    """

    steps: Steps | None = None
    samples: int | None = Field(default=None, ge=1, le=10_000)
    drf: float | None = None
    seed: Seed = 0
    device: str = "auto"
    voxel_mm: Millimetres | None = None
    precision: Precision = "auto"
    tile: int | None = Field(default=None, ge=1)

    @field_validator("drf")
    @classmethod
    def _is_reduction(cls, drf: float | None) -> float | None:
        if drf is not None and not 1 < drf < math.inf:
            raise ValueError("is no dose reduction factor: give a number above 1, 20 for 1/20")
        return drf

    @field_validator("voxel_mm")
    @classmethod
    def _are_sizes(cls, voxel_mm: Millimetres | None) -> Millimetres | None:
        if voxel_mm is not None and not all(0.2 <= mm <= 50 for mm in voxel_mm):
            raise ValueError("give sizes of 0.2 to 50 mm")
        return voxel_mm

    def settings(self) -> DenoiseSettings:
        """Return the options as keyword arguments of `petdiff.denoise`."""
        return cast(DenoiseSettings, self.model_dump(include={*DenoiseSettings.__annotations__}))

    @classmethod
    def of(cls, settings: DenoiseSettings) -> DenoiseOptions:
        """Validate keyword arguments. Raises UsageError, which names a wrong argument."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise UsageError(f"`{name}` is no option of denoise: known are {known}") from error
            reason = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"`{name}` {first['input']}: {reason}") from error
