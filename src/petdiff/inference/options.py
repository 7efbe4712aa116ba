"""What can be asked of a denoising run, in one place: checked once, passed whole, recorded."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from petdiff.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "int8"]
Millimetres = tuple[float, float, float]


class DenoiseSettings(TypedDict, total=False):
    """The keyword arguments of `petdiff.denoise`: the fields of DenoiseOptions."""

    steps: int | None
    samples: int
    drf: float | None
    seed: int
    device: str
    voxel_mm: Millimetres | None
    precision: Precision
    tile: int | None


class DenoiseOptions(BaseModel):
    """How a scan is denoised.

    steps      calls of the network per sample; None: the model's own number
    samples    scans to draw; from 2 on their standard deviation is the uncertainty
    drf        dose reduction factor of the scan, 20 at 1/20 of the full dose; None: not known
    seed       of the noise that sampling starts from
    device     auto, cpu, cuda, cuda:N or mps
    voxel_mm   voxel size that the network works at, in mm; None: the scan's, where the model can
    precision  of the network's arithmetic; int8: its convolutions in 8-bit integers, on a CPU
    tile       planes of a slab, or voxels a side of a window; None: what is fast and fits memory
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = Field(default=None, ge=1)
    samples: int = Field(default=1, ge=1)
    drf: float | None = None
    seed: int = Field(default=0, ge=0)
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

    def settings(self) -> DenoiseSettings:
        """Return the options as keyword arguments of `petdiff.denoise`."""
        return {
            "steps": self.steps,
            "samples": self.samples,
            "drf": self.drf,
            "seed": self.seed,
            "device": self.device,
            "voxel_mm": self.voxel_mm,
            "precision": self.precision,
            "tile": self.tile,
        }

    @classmethod
    def of(cls, settings: DenoiseSettings) -> DenoiseOptions:
        """Return the options of these keyword arguments; UsageError names one that is wrong."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"`{name}` {first['input']}: {reason}") from error
