"""The power spectrum of the noise of a reconstructed scan.

Noise is described as white noise after a Gaussian filter, with less power at low frequencies across
the axis. A scanner measures sums along lines, which have more information about low frequencies
than about high ones. Across the axis, the power of the noise of a converged reconstruction
therefore rises in proportion to the frequency, before resolution and filter reduce it (Kijewski and
Judy, Phys Med Biol 1987, doi 10.1088/0031-9155/32/5/003). With time of flight, or after few
iterations, the rise begins only above a certain frequency.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.regions import Spacing

Power = NDArray[np.floating[Any]]
Widths = tuple[float, float, float]

# Frequency across the axis in 1/mm above which noise rises, fitted on simulated patients (lab book
# 33).
RISE_PER_MM = 0.04
_FREQUENCIES = 64  # per axis, for sums over the spectrum


def rise(across: ArrayLike) -> Power:
    """Return the factor of the rise on the power, for frequencies across the axis in 1/mm."""
    return np.asarray(np.sqrt(1 + np.square(np.asarray(across) / RISE_PER_MM)))


def power_across(across: Power, fwhm_mm: float) -> Power:
    """Return the power for frequencies across the axis in 1/mm; its scale is arbitrary."""
    return rise(across) * power_along(across, fwhm_mm)


def power_along(along: Power, fwhm_mm: float) -> Power:
    """Return the power of a Gaussian filter for frequencies along one axis in 1/mm."""
    return np.asarray(np.exp(-np.square(2 * np.pi * fwhm_mm / FWHM_PER_SIGMA * along)))


def share_left(fwhm_mm: Widths, spacing_mm: Spacing, filter_fwhm_mm: float) -> float:
    """Return the variance of noise after a Gaussian filter, over its variance before.

    fwhm_mm         widths of the noise; that along i and that along j are equal
    filter_fwhm_mm  width of the filter
    """
    i, j, k = (_frequencies(mm) for mm in spacing_mm)
    of_i, of_j, of_k = (power_along(f, filter_fwhm_mm) for f in (i, j, k))
    across, along = power_across(np.hypot(i[:, None], j), fwhm_mm[0]), power_along(k, fwhm_mm[2])
    left_across = (across * of_i[:, None] * of_j).sum() / across.sum()
    return float(left_across * (along * of_k).sum() / along.sum())


def _frequencies(mm: float) -> Power:
    """Return frequencies in 1/mm that cover those of voxels of a size, evenly."""
    return np.asarray((np.arange(_FREQUENCIES) + 0.5) / (2 * _FREQUENCIES * mm))
