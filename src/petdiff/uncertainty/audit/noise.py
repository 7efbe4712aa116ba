"""The noise of a scan: its level around each voxel, and its decrease with the scale.

Both are measured in the scan. The noise of neighbouring voxels is correlated, so that the noise of
a mean over a ball decreases more slowly with the size of the ball than white noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from petdiff.volume.regions import Mask, Spacing, Volume, block_edges, block_sums

WINDOW_MM = 80.0  # side of the cube in which the level is measured
EXCLUDED_MM = 24.0  # side of the cube in its middle that is excluded, so that a focus is not noise
NOISE_POWER = 0.6  # noise grows with activity to this power (lab book 9: 1 − 0.4)
CLIP_SD = 8.0  # standard deviations: larger contrasts are anatomy
MIN_ACTIVITY_SHARE = 0.05  # of typical uptake: lower activities are set to it
LOW_CONTRAST_SHARE = 0.1  # of the blocks: those with the least contrast have little anatomy
BLOCK_MM = 40.0
NEGATIVE_NOISE_RATIO = 0.75  # negative over positive deviations of noise; lab book, "The audit"
MIN_NOISE_SHARE = 1e-6  # of the highest activity: lower bound of the noise, for scans without noise
_MAD_PER_SIGMA = 0.6745


def noise_level(contrast: Volume, activity: Volume, body: Mask, spacing_mm: Spacing) -> Volume:
    """Return the standard deviation of the noise of a contrast around each voxel [i, j, k].

    contrast  of the measured scan at its finest scale
    activity  mean around each voxel, with hardly any noise; the noise increases with it

    It is the root mean square in a window without its middle. Outliers are clipped.
    """
    min_activity = MIN_ACTIVITY_SHARE * float(np.median(activity[body]))
    expected = np.maximum(activity, max(min_activity, 1e-30)) ** np.float32(NOISE_POWER)
    relative = contrast[body] / expected[body]
    most = CLIP_SD * robust_deviation(relative)
    squares = np.zeros_like(contrast)
    squares[body] = np.minimum(relative**2, most**2)
    inside = body.astype(np.float32)
    wide, near = _window(spacing_mm, WINDOW_MM), _window(spacing_mm, EXCLUDED_MM)
    total = _sums(squares, wide) - _sums(squares, near)
    count = _sums(inside, wide) - _sums(inside, near)
    # Where the window has hardly any body, the noise of the whole scan is used.
    whole = float(squares[body].mean())
    few = 0.05 * (np.prod(wide) - np.prod(near))
    variance = (np.maximum(total, 0) + few * whole) / (np.maximum(count, 0) + few)
    level = np.asarray(expected * np.sqrt(variance), dtype=np.float32)
    return np.maximum(level, np.float32(MIN_NOISE_SHARE) * float(np.abs(activity[body]).max()))


def deviations(residual: Volume, noise: Volume, allowed: Volume, expected: Volume) -> Volume:
    """Return a residual in standard deviations, transformed to a normal variable.

    residual  measured minus denoised contrast
    noise     its standard deviation by noise
    allowed   its standard deviation by noise and tolerance
    expected  activity of the denoised scan

    The noise of a reconstruction is skewed, like that of counts: it reaches far above the activity
    and not below zero. The activity is modelled by a gamma variable with mean `expected` and
    standard deviation `noise`. For positive residuals, the cube root of Wilson and Hilferty (1931)
    transforms it to a normal variable. Negative residuals have a smaller standard deviation, by the
    factor NEGATIVE_NOISE_RATIO.
    """
    z = residual / allowed
    share = noise / np.maximum(expected, noise)
    upwards = 3 / share * (np.cbrt(np.maximum(1 + share * z, 0)) - 1 + share**2 / 9)
    return np.where(z > 0, upwards, z / np.float32(NEGATIVE_NOISE_RATIO)).astype(np.float32)


def noise_by_scale(
    contrasts: Iterable[tuple[Volume, Volume]], level: Volume, body: Mask, spacing_mm: Spacing
) -> list[float]:
    """Return the noise at each scale over that at the finest, from fine to coarse.

    contrasts  of the measured scan and of measured minus denoised, at each scale

    If the denoised scan is right, the residual has no anatomy, but it lacks the noise that
    denoising did not remove. The noise of the residual is therefore limited: to at least that of
    white noise, and at most that in the tenth of the measured scan with the least contrast.
    """
    found: list[float] = []
    first = low_contrast_first = 0.0
    for n, (measured, residual) in enumerate(contrasts):
        left = robust_deviation((residual / level)[body])
        low_contrast = _low_contrast(measured, level, body, spacing_mm)
        if n == 0:
            first, low_contrast_first = max(left, 1e-30), max(low_contrast, 1e-30)
            found.append(1.0)
        else:
            found.append(
                float(max(min(left / first, low_contrast / low_contrast_first), _white(n)))
            )
    return found


def robust_deviation(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a normal variable with the same median of |values|."""
    return float(np.median(np.abs(values))) / _MAD_PER_SIGMA if values.size else 0.0


def _white(n: int) -> float:
    """Return white noise after n scales: it decreases with the root of the ball's volume."""
    return float(2 ** (-0.75 * n))


def _low_contrast(contrast: Volume, level: Volume, body: Mask, spacing_mm: Spacing) -> float:
    """Return the 10th percentile of the contrast in the body's blocks, in units of the level."""
    edges = block_edges(contrast.shape, spacing_mm, BLOCK_MM)
    squares = block_sums(np.where(body, (contrast / level) ** 2, 0), edges)
    counts = block_sums(body.astype(np.float32), edges)
    filled = counts >= 0.5 * counts.max()
    return float(np.sqrt(np.quantile(squares[filled] / counts[filled], LOW_CONTRAST_SHARE)))


def _window(spacing_mm: Spacing, side_mm: float) -> list[int]:
    """Return the number of voxels along each axis of a window, which is odd."""
    return [2 * round(side_mm / 2 / size) + 1 for size in spacing_mm]


def _sums(values: Volume, window: Sequence[int]) -> Volume:
    """Return the sums over a window around each voxel; values outside the scan are 0."""
    sums: Volume = uniform_filter(values, window, mode="constant")
    sums *= np.float32(np.prod(window))
    return sums
