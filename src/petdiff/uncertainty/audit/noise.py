"""What a scan's own noise allows: its level around each voxel, and how it falls with the scale.

Level and reach are measured in the scan. Noise of neighbouring voxels is correlated, so that it
falls more slowly with a ball's size than white noise does; by how much, the scan itself shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from petdiff.volume.regions import Spacing, block_edges, block_sums

Volume = NDArray[np.float32]
Body = NDArray[np.bool_]

WINDOW_MM = 80.0  # in which the level is measured …
HOLE_MM = 24.0  # … but not so near, lest a focus counts as noise
NOISE_POWER = 0.6  # noise grows with activity to this power (lab book 9: 1 − 0.4)
CLIPPED_AT = 8.0  # standard deviations: what stands out further is anatomy
FAINTEST_SHARE = 0.05  # of typical uptake: activity below it counts as that much
CALM_SHARE = 0.1  # of the blocks, in which anatomy adds least
BLOCK_MM = 40.0
BELOW = 0.75  # noise that lowers a contrast, over that which raises it; lab book, "The audit"
NOISELESS = 1e-6  # of the highest activity: least noise, for scans that have none
_MAD_PER_SIGMA = 0.6745


def noise_level(contrast: Volume, activity: Volume, body: Body, spacing_mm: Spacing) -> Volume:
    """Return the standard deviation of the noise of a contrast around each voxel [i, j, k].

    contrast  of the measured scan at its finest scale
    activity  around each voxel, which shows hardly any noise: noise grows with it

    It is the root mean square in a window, without its middle and with what stands out cut.
    """
    faintest = FAINTEST_SHARE * float(np.median(activity[body]))
    expected = np.maximum(activity, max(faintest, 1e-30)) ** np.float32(NOISE_POWER)
    relative = contrast / expected
    most = CLIPPED_AT * robust_deviation(relative[body])
    squares = np.where(body, np.minimum(relative**2, most**2), 0).astype(np.float32)
    inside = body.astype(np.float32)
    wide, near = _window(spacing_mm, WINDOW_MM), _window(spacing_mm, HOLE_MM)
    total = _sums(squares, wide) - _sums(squares, near)
    count = _sums(inside, wide) - _sums(inside, near)
    # Where hardly any body is around, the whole scan's noise is the best guess.
    whole = float(squares[body].mean())
    few = 0.05 * (np.prod(wide) - np.prod(near))
    variance = (np.maximum(total, 0) + few * whole) / (np.maximum(count, 0) + few)
    level = np.asarray(expected * np.sqrt(variance), dtype=np.float32)
    return np.maximum(level, np.float32(NOISELESS) * float(np.abs(activity[body]).max()))


def deviations(residual: Volume, noise: Volume, allowed: Volume, expected: Volume) -> Volume:
    """Return a residual in standard deviations, made normal.

    residual  measured less denoised contrast
    noise     its standard deviation, by the noise alone
    allowed   the same with what else may differ
    expected  activity of the denoised scan

    The noise of a reconstruction is skewed as counts are: it reaches far above the activity and
    not below zero. Upwards the cube root of Wilson and Hilferty (1931) makes a gamma variable of
    this mean and deviation normal; downwards its noise is somewhat less than that.
    """
    z = residual / allowed
    share = noise / np.maximum(expected, noise)
    upwards = 3 / share * (np.cbrt(np.maximum(1 + share * z, 0)) - 1 + share**2 / 9)
    return np.where(z > 0, upwards, z / np.float32(BELOW)).astype(np.float32)


def reach(
    contrasts: Iterable[tuple[Volume, Volume]], level: Volume, body: Body, spacing_mm: Spacing
) -> list[float]:
    """Return how much noise is left at each scale, over that at the finest, from fine to coarse.

    contrasts  of the measured scan and of it less the denoised one, at each scale

    The residual has no anatomy where the denoised scan is right, but lacks the noise that denoising
    kept. So its share counts within two bounds: not below that of white noise, and not above what
    the calmest tenth of the measured scan shows.
    """
    found: list[float] = []
    first = calm_first = 0.0
    for n, (measured, residual) in enumerate(contrasts):
        left = robust_deviation((residual / level)[body])
        calm = _calm(measured, level, body, spacing_mm)
        if n == 0:
            first, calm_first = max(left, 1e-30), max(calm, 1e-30)
            found.append(1.0)
        else:
            found.append(float(max(min(left / first, calm / calm_first), _white(n))))
    return found


def robust_deviation(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a normal variable with the values' median deviation."""
    return float(np.median(np.abs(values))) / _MAD_PER_SIGMA if values.size else 0.0


def _white(n: int) -> float:
    """Return how far white noise has fallen after n scales: as the root of the ball's volume."""
    return float(2 ** (-0.75 * n))


def _calm(contrast: Volume, level: Volume, body: Body, spacing_mm: Spacing) -> float:
    """Return the deviation in units of the level that a tenth of the body's blocks stay below."""
    edges = block_edges(contrast.shape, spacing_mm, BLOCK_MM)
    squares = block_sums(np.where(body, (contrast / level) ** 2, 0), edges)
    counts = block_sums(body.astype(np.float32), edges)
    filled = counts >= 0.5 * counts.max()
    return float(np.sqrt(np.quantile(squares[filled] / counts[filled], CALM_SHARE)))


def _window(spacing_mm: Spacing, side_mm: float) -> list[int]:
    """Return the voxels along each axis of a window, an odd number."""
    return [2 * round(side_mm / 2 / size) + 1 for size in spacing_mm]


def _sums(values: Volume, window: Sequence[int]) -> Volume:
    """Return the sums over a window around each voxel; nothing lies outside the scan."""
    sums: Volume = uniform_filter(values, window, mode="constant")
    sums *= np.float32(np.prod(window))
    return sums
