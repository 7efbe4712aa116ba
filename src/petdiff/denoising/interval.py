"""Write the interval of each voxel as two volumes: lower and upper bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff.denoising.extra_volumes import write_extra_volume
from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.run_record import OutputFormat

if TYPE_CHECKING:
    from petdiff.methods.model import Model
    from petdiff.uncertainty.calibration.record import Calibration


@dataclass(frozen=True)
class IntervalWriter:
    """The level of the intervals, the model's calibration and, if known, the scan's dose."""

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
        """Write both bounds of each voxel. Each frame is treated as a scan of its own."""
        from petdiff.uncertainty.intervals import VoxelIntervals, voxel_intervals

        bounds = [
            voxel_intervals(before, after, self.calibration, self.level, drf=self.drf)
            for before, after in zip(_volumes(measured), _volumes(denoised), strict=True)
        ]
        for name, volumes in zip(VoxelIntervals._fields, zip(*bounds, strict=True), strict=True):
            scan: PETImage | PETFrames = volumes[0]
            if isinstance(denoised, PETFrames):
                scan = denoised.with_frames(volumes)
            write_extra_volume(scan, name, folder, file_format)


def _volumes(scan: PETImage | PETFrames) -> tuple[PETImage, ...]:
    return scan.frames if isinstance(scan, PETFrames) else (scan,)


def prepare_intervals(
    level: float | None, scan: PETImage, model: Model, options: DenoiseOptions
) -> IntervalWriter | None:
    """Check that intervals at `level` can be computed; None without a level.

    Raises UsageError or InputRefused with the reason why they cannot.
    """
    if level is None:
        return None
    from petdiff.methods.base import image_steps
    from petdiff.uncertainty.intervals import calibration_of

    if options.voxel_mm is not None:
        raise UsageError(
            "`interval`: results at other voxel sizes were not calibrated; leave `voxel_mm` out"
        )
    calibration = calibration_of(model)
    steps = image_steps(model.method, options.samples, options.steps)
    if steps != calibration.steps:
        raise UsageError(
            f"`interval`: results of {steps} steps were not calibrated; leave `steps` out"
        )
    if reason := calibration.dose_refused(options.drf):
        raise InputRefused(reason)
    if reason := calibration.voxels_refused(scan.spacing_mm, level):
        raise InputRefused(reason)
    return IntervalWriter(level, calibration, options.drf)
