"""Draw a scan at a fraction of its dose, from the scan and the noise of its voxels.

Reconstructed activity has nearly a gamma distribution: it is positive and similarly skewed (lab
book 24). A gamma variable of shape K times a beta variable of shape (f·K, (1 - f)·K),
divided by f, is a gamma variable of the same mean and of shape f·K. This corresponds to keeping
each event of a Poisson variable with probability f. Therefore the scan times such a beta variable
is a scan at a fraction f of the dose: it has 1/f times the variance, is never negative, and has the
scan's mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import betaincinv, ndtr

from petdiff.thinning.coloured_noise import coloured_noise
from petdiff.thinning.noise_map import NoiseMap
from petdiff.volume.regions import Spacing, Volume

_SIGNED_SHARE = 0.01  # of the body: OSEM has fewer negative voxels
_NEGATIVE = -1e-3  # of the local activity
_PLANES = 32  # drawn at a time
# Axes of the table of beta quantiles: log of the shape, and the normal quantile of the same rank.
_LOG_SHAPES = np.linspace(np.log(0.02), np.log(1e8), 120)
_RANKS = np.linspace(-6, 6, 241)


def is_signed(scan: Volume, noise: NoiseMap) -> bool:
    """Return whether the scan has negative values in the body, which OSEM does not have."""
    below = scan[noise.body] < _NEGATIVE * noise.activity[noise.body]
    return bool(below.size and below.mean() > _SIGNED_SHARE)


def draw(scan: Volume, noise: NoiseMap, share: float, spacing_mm: Spacing, seed: int) -> Volume:
    """Return the scan at a fraction of its dose, between 0 and 1; reproducible by `seed`."""
    normal = coloured_noise(noise.texture, noise.colour.fwhm_mm, spacing_mm, seed)
    if is_signed(scan, noise):
        spread = noise.relative * noise.activity * np.float32(np.sqrt(1 / share - 1))
        return scan + spread * normal
    table = _beta_quantiles(share)
    thinned = np.empty_like(scan)
    for first in range(0, scan.shape[2], _PLANES):
        part = (..., slice(first, first + _PLANES))
        log_shape = -2 * np.log(noise.relative[part])
        places = np.stack([_place(log_shape, _LOG_SHAPES), _place(normal[part], _RANKS)])
        thinned[part] = scan[part] * map_coordinates(table, places, order=1, mode="nearest")
    return thinned


def _beta_quantiles(share: float) -> NDArray[np.float64]:
    """Return the factors on a voxel by shape and rank: quantiles of Beta(f·K, (1 - f)·K) / f.

    Each row is normalised to mean 1, to correct the error of the coarse grid.
    """
    shapes = np.exp(_LOG_SHAPES)[:, None]
    table = betaincinv(share * shapes, (1 - share) * shapes, ndtr(_RANKS)) / share
    weights = np.exp(-np.square(_RANKS) / 2)
    return np.asarray(table / (table @ weights / weights.sum())[:, None])


def _place(values: Volume, grid: NDArray[np.float64]) -> Volume:
    """Return the fractional index of each value on an equidistant grid."""
    return (values - np.float32(grid[0])) / np.float32(grid[1] - grid[0])
