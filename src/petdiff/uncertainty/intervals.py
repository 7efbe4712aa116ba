"""Intervals of the voxels of a denoised scan, from the calibration of its model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.methods.model import Model
from petdiff.methods.weights_files import file_sha256, weights_path
from petdiff.uncertainty.calibration.record import (
    Calibration,
    Refused,
    dose_facts,
    load_calibration,
)


class VoxelIntervals(NamedTuple):
    """Lower and upper bound of each voxel of the full-dose scan, in its unit."""

    lower: PETImage
    upper: PETImage


def calibration_of(model: str | Path | Model = "flow3d") -> Calibration:
    """Return the calibration of a shipped model, of a .safetensors file or of a loaded model.

    Raises InputRefused if there is none.
    """
    if isinstance(model, Model):
        return load_calibration(weights_path(model.name), model.sha256)
    path = weights_path(str(model))
    return load_calibration(path, file_sha256(path))


def voxel_intervals(
    measured: PETImage,
    denoised: PETImage,
    calibration: Calibration,
    level: float = 0.9,
    *,
    drf: float | None = None,
) -> VoxelIntervals:
    """Return the interval of each voxel at `level`.

    drf  dose reduction factor; if the calibration has bounds for this dose, they are used

    Raises UsageError if the scans are on different grids, InputRefused if the calibration has no
    such interval or the dose is outside its range.
    """
    if not measured.shares_voxels(denoised, tolerance_mm=0.1):
        raise UsageError("the measured and the denoised scan lie on different grids")
    found = calibration.voxel_intervals(
        measured.values,
        denoised.values,
        spacing_mm=measured.spacing_mm,
        facts=dose_facts(drf),
        level=level,
    )
    if isinstance(found, Refused):
        raise InputRefused(found.reason)
    lower, upper = found
    return VoxelIntervals(denoised.with_values(lower), denoised.with_values(upper))
