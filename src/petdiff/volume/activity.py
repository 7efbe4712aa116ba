"""The change of activity by denoising, in the whole scan and in regions of similar uptake.

Regions must not be sorted by the measured scan. Its hottest voxels are hot partly by noise, and any
good denoiser lowers them (regression to the mean). Regions are therefore sorted by the denoised
scan at the resolution of organs, where hardly any noise is left.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.ndimage import gaussian_filter

from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.regions import Blocks, Spacing, block_edges, block_sums, block_volumes, voxel_ml

_SUV_BANDS = (-np.inf, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, np.inf)
_BLOCK_MM = 8.0
_CUBE_BLOCKS = 3
_SORTING_FWHM_MM = 20.0


class ActivityBand(BaseModel, frozen=True):
    """The regions of one SUV band.

    suv_from, suv_to  SUV of the smoothed denoised scan; None for an open band
    relative_change   of the summed activity, after / before - 1; None without activity before
    standard_error    of that change by noise, from the scatter within the band
    """

    suv_from: float | None
    suv_to: float | None
    volume_ml: float
    mean_suv_before: float
    mean_suv_after: float
    relative_change: float | None
    standard_error: float | None


class ActivityChange(BaseModel, frozen=True):
    """Change of the summed activity by denoising, in the whole scan and by SUV band."""

    relative_change: float | None
    by_suv: list[ActivityBand]


def activity_change(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    spacing_mm: Spacing,
    *,
    in_suv: bool = True,
) -> ActivityChange:
    """Measure the relative change of the summed activity, of the whole scan and by SUV band.

    before, after  measured and denoised scan [i, j, k] on one grid
    in_suv         whether their values are SUV; otherwise there are no bands

    Blocks of 8 mm are sorted into bands by the denoised scan at a resolution of 20 mm.
    """
    edges = block_edges(before.shape, spacing_mm, _BLOCK_MM)
    voxels = block_volumes(before.shape, edges)
    sums = block_sums(before, edges), block_sums(after, edges)
    sorted_by = _organ_sized(sums[1] / voxels, edges, spacing_mm)
    correlation = _correlation(sums[1] - sums[0], sorted_by >= _SUV_BANDS[1])
    bands = []
    for low, high in pairwise(_SUV_BANDS if in_suv else ()):
        inside = (sorted_by >= low) & (sorted_by < high)
        if inside.any():
            chosen = sums[0][inside], sums[1][inside]
            volume = float(voxels[inside].sum())
            bands.append(_band(low, high, *chosen, volume, voxel_ml(spacing_mm), correlation))
    whole = relative_change(sums[0].sum(), sums[1].sum())
    return ActivityChange(relative_change=whole, by_suv=bands)


def relative_change(before: float, after: float) -> float | None:
    """Return after / before - 1; None without activity before."""
    return float(after / before - 1) if before > 0 else None


def _band(
    low: float,
    high: float,
    before: Blocks,
    after: Blocks,
    voxels: float,
    ml_per_voxel: float,
    correlation: float,
) -> ActivityBand:
    """Return the band of some blocks; `before` and `after` are the sums over each block."""
    total = float(before.sum())
    change = relative_change(total, float(after.sum()))
    error = None
    if change is not None:
        residuals = after - (1 + change) * before
        error = float(np.sqrt(correlation * (residuals**2).sum())) / total
    return ActivityBand(
        suv_from=_finite(low),
        suv_to=_finite(high),
        volume_ml=round(voxels * ml_per_voxel, 1),
        mean_suv_before=total / voxels,
        mean_suv_after=float(after.sum()) / voxels,
        relative_change=change,
        standard_error=error,
    )


def _correlation(change: Blocks, inside: NDArray[np.bool_]) -> float:
    """Return the variance of cubes of 3 × 3 × 3 blocks, over that of uncorrelated blocks.

    It is above 1 if the noise of neighbouring blocks is correlated, and below 1 if it is
    anticorrelated, as it is after denoising that preserves regional activity.
    """
    changes = change * inside
    cubes = changes
    for axis in range(3):
        starts = np.arange(0, cubes.shape[axis], _CUBE_BLOCKS)
        cubes = np.add.reduceat(cubes, starts, axis=axis)
    blocks = float((changes**2).sum())
    return float((cubes**2).sum()) / blocks if blocks > 0 else 1.0


def _organ_sized(means: Blocks, edges: list[NDArray[np.intp]], spacing_mm: Spacing) -> Blocks:
    """Smooth the means of blocks to a resolution of 20 mm."""
    steps = [int(starts[1] - starts[0]) if len(starts) > 1 else 1 for starts in edges]
    sigma_mm = _SORTING_FWHM_MM / FWHM_PER_SIGMA
    sigmas = [sigma_mm / (step * mm) for step, mm in zip(steps, spacing_mm, strict=True)]
    return np.asarray(gaussian_filter(means, sigmas, mode="nearest"))


def _finite(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None
