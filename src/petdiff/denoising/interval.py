"""The bounds of each voxel at a level, as two volumes beside the denoised scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.io import write
from petdiff.uncertainty.calibration.record import Calibration

if TYPE_CHECKING:
    from petdiff.methods.model import Model


@dataclass(frozen=True)
class Intervals:
    """What intervals are made of: their level, the model's calibration, the dose if known."""

    level: float
    calibration: Calibration
    drf: float | None

    def write(self, measured: PETImage, denoised: PETImage, folder: Path, suffix: str) -> None:
        """Write both bounds of each voxel as volumes of values, not of stored units."""
        from petdiff.uncertainty.intervals import voxel_intervals

        bounds = voxel_intervals(measured, denoised, self.calibration, self.level, drf=self.drf)
        for name, volume in bounds._asdict().items():
            write(replace(volume, stored_per_value=1.0, source=None), folder / f"{name}{suffix}")


def intervals_of(
    level: float | None,
    scan: PETImage | PETFrames,
    model: Model,
    options: DenoiseOptions,
    form: str,
) -> Intervals | None:
    """Return what intervals at `level` take, before anything is computed; None without a level.

    Raises UsageError or InputRefused, saying why there are none.
    """
    from petdiff.methods.base import image_steps
    from petdiff.uncertainty.intervals import calibration_of

    if level is None:
        return None
    if isinstance(scan, PETFrames):
        raise UsageError("`interval`: a scan of several frames has none; denoise single frames")
    if form == "bids":
        raise UsageError("`interval`: not part of a BIDS derivative; use `to` nifti")
    if options.voxel_mm is not None:
        raise UsageError(
            "`interval`: answers at other voxels were not calibrated; leave `voxel_mm` out"
        )
    calibration = calibration_of(model)
    steps = image_steps(model.method, options.samples, options.steps)
    if steps != calibration.steps:
        raise UsageError(
            f"`interval`: answers in {steps} steps were not calibrated; leave `steps` out"
        )
    if reason := calibration.dose_refused(options.drf):
        raise InputRefused(reason)
    if reason := calibration.voxels_refused(scan.spacing_mm, level):
        raise InputRefused(reason)
    return Intervals(level, calibration, options.drf)
