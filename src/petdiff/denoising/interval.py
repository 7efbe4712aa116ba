"""The bounds of each voxel at a level, as two volumes beside the denoised scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff.denoising.beside import write_beside
from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.run_record import OutputFormat
from petdiff.uncertainty.calibration.record import Calibration

if TYPE_CHECKING:
    from petdiff.methods.model import Model


@dataclass(frozen=True)
class Intervals:
    """Hold what intervals need: their level, the model's calibration, the dose if known."""

    level: float
    calibration: Calibration
    drf: float | None

    def write(
        self,
        measured: PETImage | PETFrames,
        denoised: PETImage | PETFrames,
        folder: Path,
        file_format: OutputFormat,
    ) -> None:
        """Write both bounds of each voxel; frames have those of scans of their own."""
        from petdiff.uncertainty.intervals import VoxelIntervals, voxel_intervals

        bounds = [
            voxel_intervals(before, after, self.calibration, self.level, drf=self.drf)
            for before, after in zip(_volumes(measured), _volumes(denoised), strict=True)
        ]
        for name, volumes in zip(VoxelIntervals._fields, zip(*bounds, strict=True), strict=True):
            scan: PETImage | PETFrames = volumes[0]
            if isinstance(denoised, PETFrames):
                scan = denoised.with_frames(volumes)
            write_beside(scan, name, folder, file_format)


def _volumes(scan: PETImage | PETFrames) -> tuple[PETImage, ...]:
    return scan.frames if isinstance(scan, PETFrames) else (scan,)


def intervals_of(
    level: float | None, scan: PETImage, model: Model, options: DenoiseOptions
) -> Intervals | None:
    """Return what intervals at `level` take, before anything is computed; None without a level.

    Raises UsageError or InputRefused, saying why there are none.
    """
    from petdiff.methods.base import image_steps
    from petdiff.uncertainty.intervals import calibration_of

    if level is None:
        return None
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
