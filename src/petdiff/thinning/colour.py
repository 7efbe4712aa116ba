"""Estimate the spectrum and the strength of a scan's noise from the most uniform parts of the scan.

The power of anatomy decreases with frequency much faster than that of noise, and some parts of a
body (the middle of the liver, a thigh) are nearly uniform. Windows of about 48 mm are therefore
ranked by the ratio of their power at low frequency to that at high frequency. The spectrum of the
most uniform 10 % is that of the noise, except at low frequency, where it is extrapolated by the
model in `spectrum`.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from petdiff.errors import InputRefused
from petdiff.image import by_axis
from petdiff.thinning.spectrum import Widths, rise
from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.regions import Mask, Spacing, Volume

Spectrum = NDArray[np.float64]

_WINDOW_MM = 48.0
_SIDES = 8, 24  # least and largest side of a window in voxels
_MAX_WINDOWS = 1500
_FLAT_SHARE, _FLATTEST_SHARE, _MIN_FLAT = 0.1, 0.03, 8
_STRONGEST = 2.0  # power of a window of noise, over that of the weakest quarter
# The more the windows differ in strength, the more of it is anatomy: factor on the level, and power
# of the typical strength over that of the weakest. Fitted with `noise_map.without_anatomy` on 47
# simulated patients (lab book 35).
_WEAKEST, _TYPICAL = 0.05, 0.5
_LEVEL_FACTOR, _LEVEL_POWER = 1.134, -0.224
_INSIDE_SHARES = 0.95, 0.7, 0.4  # of a window in the body; the next one if no window has it
# Spatial frequencies in 1/mm.
_ANATOMY = 0.025, 0.07  # anatomy has more power than noise
_NOISE = 0.085, 0.145  # noise has more power than anatomy
_EXTRAPOLATED = 0.075  # below it the spectrum is extrapolated
_MIN_POWER = 0.02  # of the largest power: lower powers contribute little to the variance
_MAX_FREQUENCY = 0.2  # higher frequencies are not used in the extrapolation to low ones


class NoiseColour(NamedTuple):
    """A scan's noise.

    fwhm_mm  of the Gaussian in its spectrum (`spectrum`), along i, j (equal) and k
    level    standard deviation of the most uniform windows over the expected one, corrected for
             their anatomy, whose share is estimated from the differences between all windows
    excess   power of the most uniform 3 % of the windows at low frequency over that of the noise;
             near 1 without anatomy
    """

    fwhm_mm: Widths
    level: float
    excess: float


def noise_colour(scan: Volume, expected: Volume, body: Mask, spacing_mm: Spacing) -> NoiseColour:
    """Measure spectrum and strength of the noise of a scan [i, j, k], whose axis is k.

    expected  standard deviation of the noise at each voxel, up to a common factor

    Raises InputRefused if the scan is too small or has no noise.
    """
    sides = _window_sides(scan.shape, spacing_mm)
    powers = _window_powers(scan, expected, _windows(body, sides), sides)
    across, along = _frequencies(sides, spacing_mm)
    frequency = np.hypot(across, along)
    low = (frequency > _ANATOMY[0]) & (frequency < _ANATOMY[1])
    high = _high(frequency)
    strength = powers[:, high].mean(axis=1)
    if not (strength > 0).any():
        raise InputRefused("the scan shows no noise: give one as its reconstruction made it")
    # A small hot object has a flat spectrum as noise has, but much more power.
    weakest, weak, typical = np.quantile(strength[strength > 0], (_WEAKEST, 0.25, _TYPICAL))
    noisy = (strength > 0) & (strength <= _STRONGEST * weak)
    powers, strength = powers[noisy], strength[noisy]
    flatness = powers[:, low].mean(axis=1) / strength
    flat, flattest = (_lowest(flatness, share) for share in (_FLAT_SHARE, _FLATTEST_SHARE))
    powers /= strength[:, None, None, None]
    spectrum = powers[flat].mean(axis=0)
    widths, model = _fit_widths(spectrum, across, along)
    whole = np.where(frequency > _EXTRAPOLATED, spectrum, model)[frequency > 0].mean()
    excess = float(powers[flattest].mean(axis=0)[low].mean() / model[low].mean())
    level = np.sqrt(np.exp(np.log(strength[flat]).mean()) * whole)
    level *= _LEVEL_FACTOR * (typical / weakest) ** _LEVEL_POWER
    return NoiseColour(widths, float(level), excess)


def _window_sides(shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[int, ...]:
    """Return the sides of a window in voxels. Raises InputRefused if the scan is smaller."""
    sides = tuple(int(np.clip(2 * round(_WINDOW_MM / 2 / mm), *_SIDES)) for mm in spacing_mm)
    if any(n < side for n, side in zip(shape, sides, strict=True)):
        has, needs = (by_axis(voxels) for voxels in (shape, sides))
        raise InputRefused(
            f"the scan has {has} voxels, and {needs} are needed to measure its noise: give a "
            "larger part of it"
        )
    return sides


def _lowest(values: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Return the indices of the lowest values: a share of them, but at least _MIN_FLAT."""
    order = np.argsort(values, kind="stable")
    return order[: max(round(share * len(order)), _MIN_FLAT)]


def _windows(body: Mask, sides: tuple[int, ...]) -> list[tuple[slice, slice, slice]]:
    """Return windows in the body, half a side apart; fewer than twice _MAX_WINDOWS."""
    starts = [range(0, n - a + 1, a // 2) for n, a in zip(body.shape, sides, strict=True)]
    placed = []
    for corner in product(*starts):
        i, j, k = (slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        placed.append((i, j, k))
    shares = np.array([body[window].mean() for window in placed])
    for least in _INSIDE_SHARES:
        inside = np.flatnonzero(shares > least)
        if len(inside) >= _MIN_FLAT:
            step = max(len(inside) // _MAX_WINDOWS, 1)
            return [placed[n] for n in inside[::step]]
    raise InputRefused("the scan shows too little of a body to measure its noise")


def _window_powers(
    scan: Volume,
    expected: Volume,
    windows: list[tuple[slice, slice, slice]],
    sides: tuple[int, ...],
) -> Spectrum:
    """Return the power [window, i, j, k] of each window over its expected power."""
    i, j, k = (np.hanning(side + 2)[1:-1] for side in sides)
    taper = i[:, None, None] * j[:, None] * k
    taper /= np.sqrt(np.square(taper).mean())
    powers = np.empty((len(windows), *sides))
    for n, window in enumerate(windows):
        values = scan[window].astype(np.float64)
        values -= (values * taper).mean() / taper.mean()
        power = np.square(np.abs(np.fft.fftn(values * taper))) / values.size
        powers[n] = power / np.square(expected[window] * taper).mean()
    return powers


def _frequencies(sides: tuple[int, ...], spacing_mm: Spacing) -> tuple[Spectrum, Spectrum]:
    """Return the frequency across and along the axis of each coefficient, in 1/mm."""
    i, j, k = (np.fft.fftfreq(n, mm) for n, mm in zip(sides, spacing_mm, strict=True))
    across = np.broadcast_to(np.hypot(i[:, None], j)[:, :, None], sides)
    return across, np.broadcast_to(np.abs(k), sides)


def _high(frequency: Spectrum) -> NDArray[np.bool_]:
    """Return the mask of frequencies of noise; for large voxels, the highest fifth."""
    high = (frequency > _NOISE[0]) & (frequency < _NOISE[1])
    return high if high.sum() >= 20 else frequency >= np.quantile(frequency, 0.8)


def _fit_widths(spectrum: Spectrum, across: Spectrum, along: Spectrum) -> tuple[Widths, Spectrum]:
    """Fit the Gaussian in the spectrum's logarithm; return its FWHM in mm, and the fitted power."""
    frequency = np.hypot(across, along)
    used = (frequency > min(_EXTRAPOLATED, np.quantile(frequency, 0.6))) & (
        frequency < _MAX_FREQUENCY
    )
    used &= spectrum > _MIN_POWER * spectrum[used].max()
    rising = rise(across)
    weights = np.sqrt(spectrum[used] / spectrum[used].max())
    terms = np.stack([np.square(2 * np.pi * f) for f in (across, along)], axis=-1)
    ones = np.ones((used.sum(), 1))
    columns = np.concatenate([ones, -ones, -terms[used]], axis=1) * weights[:, None]
    logs = np.log(spectrum[used] / rising[used])
    (above, below, *squares), _ = nnls(columns, logs * weights)
    model = rising * np.exp(above - below - terms @ np.asarray(squares))
    transaxial, axial = (float(FWHM_PER_SIGMA * np.sqrt(s)) for s in squares)
    return (transaxial, transaxial, axial), model
