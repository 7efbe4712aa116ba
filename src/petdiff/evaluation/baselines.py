"""Filters that networks are compared with: Gaussian and non-local means, each of best strength.

The strength is fitted to the reference of each scan. In practice there is no reference, so the
filters do better here than they can in practice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar

from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.plane_ranges import smoothed
from petdiff.volume.regions import Mask, Spacing, Volume, bounding_box, grown

_MAX_FWHM_MM = 20.0


class Filtered(NamedTuple):
    """A filtered scan, and the strength that came closest to the reference."""

    suv: Volume
    strength: float


def best_gaussian(low: Volume, reference: Volume, spacing_mm: Spacing, body: Mask) -> Filtered:
    """Return the Gaussian filter of least mean squared error over the body, and its FWHM in mm."""
    # Voxels beyond the reach of the widest filter have no influence on the body.
    reach_mm = 4 * _MAX_FWHM_MM / FWHM_PER_SIGMA + max(spacing_mm)
    box = grown(bounding_box(body), body.shape, spacing_mm, reach_mm)
    near, inside, target = low[box], body[box], reference[body]

    def error(fwhm_mm: float) -> float:
        return _error(gaussian(near, spacing_mm, fwhm_mm)[inside], target)

    bounds = (0.0, _MAX_FWHM_MM)
    found = minimize_scalar(error, bounds=bounds, method="bounded", options={"xatol": 0.05})
    fwhm_mm = float(found.x) if found.fun < error(0.0) else 0.0
    return Filtered(gaussian(low, spacing_mm, fwhm_mm), fwhm_mm)


def gaussian(suv: Volume, spacing_mm: Spacing, fwhm_mm: float) -> Volume:
    """Return the scan after a Gaussian filter of a FWHM in mm; 0 changes nothing."""
    return smoothed(suv, [fwhm_mm / FWHM_PER_SIGMA / size for size in spacing_mm])


def best_non_local_means(
    low: Volume,
    reference: Volume,
    body: Mask,
    strengths: Sequence[float] = (0.5, 0.8, 1.2, 1.8),
) -> Filtered:
    """Filter by non-local means (Buades 2005, scikit-image) at the best of `strengths`.

    The square root of SUV is filtered, and the result is squared.
    """
    from skimage.restoration import denoise_nl_means

    root, noise = root_and_noise(low, body)
    best = Filtered(low, 0.0)
    for strength in strengths:
        smooth = denoise_nl_means(
            root,
            patch_size=3,
            patch_distance=4,
            h=strength * noise,
            sigma=noise,
            fast_mode=True,
            preserve_range=True,
        )
        tried = Filtered(np.square(smooth).astype(np.float32), strength)
        if _error(tried.suv[body], reference[body]) < _error(best.suv[body], reference[body]):
            best = tried
    return best


def root_and_noise(suv: Volume, body: Mask) -> tuple[Volume, float]:
    """Return the square root of SUV, whose noise depends little on the counts, and its noise.

    The noise is the standard deviation in the body of the root minus the root after a Gaussian
    filter (σ = 1 voxel). Negative values count as 0.
    """
    root = np.sqrt(np.maximum(suv, 0))
    return root, float((root - gaussian_filter(root, 1.0))[body].std())


def _error(values: Volume, target: Volume) -> float:
    return float(np.square(values - target).mean(dtype=np.float64))
