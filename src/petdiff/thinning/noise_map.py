"""How noisy each voxel of a scan is, estimated from the scan alone.

Counts make noise that is larger, relative to the activity, where activity is low and where much
tissue attenuates. The map is a product of three factors: that law, a smooth local correction that
the scan's finest details show, and the strength that its flattest parts show (`colour`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_fill_holes,
    correlate1d,
    gaussian_filter,
    zoom,
)

from petdiff.errors import InputRefused
from petdiff.thinning.attenuation import attenuation_noise
from petdiff.thinning.colour import NoiseColour, noise_colour
from petdiff.volume.plane_ranges import smoothed
from petdiff.volume.regions import Spacing, body_mask, typical_uptake

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

# The law: noise ∝ activity^0.68 · (activity around)^-0.22 · (what attenuation adds)^1.08, fitted on
# the organs of 20 simulated scans of five scanners and four tracers (lab book, thinning).
_ACTIVITY_POWER, _AROUND_POWER, _ATTENUATION_POWER = 0.68, -0.22, 1.08
_ACTIVITY_SIGMA_MM = 3.0  # over which activity is averaged
_AROUND_SIGMA_MM = 24.0, 24.0, 3.0
_LOWEST_ACTIVITY = 1e-3  # of the typical one
# The local correction: windows and smoothing, transaxial and axial. Sensitivity changes along the
# axis faster than across it.
_WINDOW_MM = 60.0, 60.0, 24.0
_SMOOTHING_MM = 60.0, 60.0, 15.0
_DIFFERENCE_MM = 5.5  # between the voxels of a second difference
_LEAST_BODY = 0.3  # of a window
_MEDIAN_OF_NORMAL = 0.6745  # of the absolute value


@dataclass(frozen=True, eq=False)
class NoiseMap:
    """The noise of a scan [i, j, k].

    relative  standard deviation of each voxel over its activity
    activity  the scan's activity, smoothed over 3 mm
    body      voxels that are no air
    colour    how the noise is correlated
    """

    relative: Volume
    activity: Volume
    body: Mask
    colour: NoiseColour

    @property
    def median(self) -> float:
        """Relative noise of the middle voxel of the body."""
        return float(np.median(self.relative[self.body]))


def noise_map(scan: Volume, spacing_mm: Spacing) -> NoiseMap:
    """Estimate the noise of a scan whose axis is k.

    Raises InputRefused for a scan without activity, one too small, and one without noise.
    """
    positive = np.maximum(scan, 0)
    activity = smoothed(positive, [_ACTIVITY_SIGMA_MM / mm for mm in spacing_mm])
    typical = typical_uptake(activity)
    if not typical > 0:
        raise InputRefused("the scan holds no activity, so it has no noise to measure")
    np.maximum(activity, np.float32(_LOWEST_ACTIVITY * typical), out=activity)
    body = _filled(body_mask(positive, spacing_mm))
    around = smoothed(
        activity, [a / mm for a, mm in zip(_AROUND_SIGMA_MM, spacing_mm, strict=True)]
    )
    relative = attenuation_noise(body, spacing_mm) ** np.float32(_ATTENUATION_POWER)
    relative *= (activity / np.float32(typical)) ** np.float32(_ACTIVITY_POWER - 1)
    relative *= (around / np.float32(typical)) ** np.float32(_AROUND_POWER)
    relative *= _local_correction(scan, relative * activity, body, spacing_mm)
    colour = noise_colour(scan, relative * activity, body, spacing_mm)
    relative *= np.float32(colour.level)
    return NoiseMap(relative, activity, body, colour)


def _filled(body: Mask) -> Mask:
    """Fill holes slice by slice: cold organs are body."""
    return np.stack([binary_fill_holes(plane) for plane in np.moveaxis(body, 2, 0)], axis=2)


def _local_correction(scan: Volume, expected: Volume, body: Mask, spacing_mm: Spacing) -> Volume:
    """Return how much stronger than expected the finest details are, smooth; only ratios matter.

    The median over a window is hardly moved by the edges of organs.
    """
    details = np.abs(_second_differences(scan, spacing_mm)) / expected
    sides = [max(3, round(a / mm)) for a, mm in zip(_WINDOW_MM, spacing_mm, strict=True)]
    steps = [max(side // 2, 1) for side in sides]
    starts = [range(0, n, step) for n, step in zip(scan.shape, steps, strict=True)]
    logs, weights = np.zeros((2, *map(len, starts)))
    for place in np.ndindex(logs.shape):
        window = _window([axis[n] for axis, n in zip(starts, place, strict=True)], sides)
        inside = body[window]
        share = float(inside.mean())
        middle = float(np.median(details[window][inside])) if share >= _LEAST_BODY else 0.0
        if middle > 0:
            logs[place], weights[place] = np.log(middle / _MEDIAN_OF_NORMAL), share
    if not weights.any():
        return np.ones_like(scan)
    typical = float(np.median(logs[weights > 0]))
    sigmas = [
        mm / (step * size) for mm, step, size in zip(_SMOOTHING_MM, steps, spacing_mm, strict=True)
    ]
    above = gaussian_filter((logs - typical) * weights, sigmas)
    above /= gaussian_filter(weights, sigmas) + 0.02
    factors = [n / m for n, m in zip(scan.shape, above.shape, strict=True)]
    fine = zoom(above.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")
    return np.asarray(np.exp(fine + np.float32(typical)), np.float32)


def _window(at: Sequence[int], sides: Sequence[int]) -> tuple[slice, slice, slice]:
    i, j, k = (slice(max(n - a // 2, 0), n + a - a // 2) for n, a in zip(at, sides, strict=True))
    return i, j, k


def _second_differences(scan: Volume, spacing_mm: Spacing) -> Volume:
    """Return (-¼, ½, -¼) along all three axes, between voxels about 5.5 mm apart."""
    for axis, mm in enumerate(spacing_mm):
        apart = max(1, round(_DIFFERENCE_MM / mm))
        weights = np.zeros(2 * apart + 1)
        weights[[0, apart, -1]] = -0.25, 0.5, -0.25
        scan = correlate1d(scan, weights, axis=axis, mode="nearest")
    return scan
