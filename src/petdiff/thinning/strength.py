"""Estimate the strength of a scan's noise from two measures, with a correction for anatomy.

One measure is the noise of the most uniform windows (`colour`), the other the finest details of the
whole body. Both have some anatomy. In voxels of 3 mm the windows alone are used. Larger voxels do
not resolve the frequencies without anatomy, and the mean of both measures has a smaller error than
either. The share of anatomy is larger in scans with less noise. Below a certain relative noise, the
estimate is therefore lowered by a power of the noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from petdiff.thinning.colour import NoiseColour
from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.regions import Spacing

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DIFFERENCE_MM = 5.5  # between the voxels of a second difference
_MEDIAN_OF_NORMAL = 0.6745  # of the absolute value
_MIN_FWHM_MM = 5.0, 5.0, 2.0  # of noise in voxels of 6 mm, where the axial one is hard to measure
# Fitted on 20 simulated patients in voxels of 6 mm, checked on five in voxels of 3 mm (lab book,
# thinning).
_LARGE_MM = 3.0, 6.0  # voxel sizes with weight 0 and full weight of the details
_SHARE_OF_DETAILS, _DETAILS_LOW = 0.6, 0.26  # full weight; bias of the log of the details
_ANATOMY_BELOW, _ANATOMY_POWER = 0.27, 0.148  # relative noise, and the power


def second_differences(scan: Volume, spacing_mm: Spacing) -> Volume:
    """Return the scan filtered by (-¼, ½, -¼) along all axes, between voxels 5.5 mm apart."""
    for axis, mm in enumerate(spacing_mm):
        apart = _apart(mm)
        weights = np.zeros(2 * apart + 1)
        weights[[0, apart, -1]] = -0.25, 0.5, -0.25
        scan = correlate1d(scan, weights, axis=axis, mode="nearest")
    return scan


def noise_strength(colour: NoiseColour, details: Volume, body: Mask, spacing_mm: Spacing) -> float:
    """Return the median relative noise over the body.

    colour   of the noise, with its level over an expected noise of median 1
    details  absolute second differences over the expected noise [i, j, k]
    """
    size_mm = float(np.prod(spacing_mm)) ** (1 / 3)
    large = np.clip((size_mm - _LARGE_MM[0]) / (_LARGE_MM[1] - _LARGE_MM[0]), 0, 1)
    share = float(large) * _SHARE_OF_DETAILS
    log = np.log(colour.level)
    middle = float(np.median(details[body]))
    if middle > 0:
        left = _left_by_differences(colour.fwhm_mm, spacing_mm)
        log_details = np.log(middle / _MEDIAN_OF_NORMAL / left) + _DETAILS_LOW
        log = (1 - share) * log + share * log_details
    return float(np.exp(log - _ANATOMY_POWER * max(np.log(_ANATOMY_BELOW) - log, 0)))


def _left_by_differences(fwhm_mm: tuple[float, float, float], spacing_mm: Spacing) -> float:
    """Return the standard deviation of noise of these widths after second differences.

    White noise smoothed by a Gaussian has the correlation exp(-d²/4σ²) at the distance d.
    """
    variance = 1.0
    for width, least, mm in zip(fwhm_mm, _MIN_FWHM_MM, spacing_mm, strict=True):
        steps = np.arange(1, 3) * _apart(mm) * mm * FWHM_PER_SIGMA / max(width, least)
        near, far = np.exp(-np.square(steps) / 4)
        variance *= 3 / 8 - near / 2 + far / 8
    return float(np.sqrt(variance))


def _apart(mm: float) -> int:
    """Return the distance in voxels between the points of a second difference."""
    return max(1, round(_DIFFERENCE_MM / mm))
