"""Gaussian noise with the spectrum and the texture of a scan's noise.

White noise gets the mean spectrum, and is split into bands of frequency and direction (`texture`).
At each place their amplitudes are those of the place; then they are added up.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, irfft2, next_fast_len, rfft, rfft2
from scipy.signal import resample

from petdiff.thinning.spectrum import Power, Widths, power_across, power_along
from petdiff.thinning.texture import Floats, Texture, bands
from petdiff.volume.regions import Spacing, Volume

_PLANES = 32  # drawn at a time
_ACROSS = (0, 1)
_PIXEL = 0.5  # of the noise's width across the axis: finer waves have hardly any power


def coloured_noise(texture: Texture, fwhm_mm: Widths, spacing_mm: Spacing, seed: int) -> Volume:
    """Return noise [i, j, k] of standard deviation 1 at each place, reproducible by `seed`.

    The volume is periodic, so that its edges are as noisy as its middle.
    """
    shape = tuple(map(len, texture.places))
    # Voxels that are finer than the noise are interpolated from pixels.
    i, j = (_pixels(n, mm, fwhm_mm[0]) for n, mm in zip(shape[:2], spacing_mm[:2], strict=True))
    noise = np.random.default_rng(seed).standard_normal((i, j, shape[2]), np.float32)
    along = _transfer(power_along(np.fft.fftfreq(shape[2], spacing_mm[2]), fwhm_mm[2]))
    noise = np.asarray(irfft(rfft(noise) * along[: shape[2] // 2 + 1], shape[2]), np.float32)
    pixel_mm = shape[0] * spacing_mm[0] / i, shape[1] * spacing_mm[1] / j
    transfers = _transfers(texture, (i, j), pixel_mm, fwhm_mm[0])
    amplitudes = _normalised(texture.amplitudes, transfers)
    of_i, of_j, of_k = (
        _weights(places, pixels, points)
        for places, pixels, points in zip(
            texture.places, noise.shape, amplitudes.shape[1:], strict=True
        )
    )
    drawn = np.empty(shape, np.float32)
    for first in range(0, shape[2], _PLANES):
        part = slice(first, first + _PLANES)
        local = np.einsum("bxyz,kz->bxyk", amplitudes, of_k[part], optimize=True)
        total = _sum_of_bands(noise[..., part], transfers, local, of_i, of_j)
        for axis in _ACROSS:
            if total.shape[axis] < shape[axis]:
                total = resample(total, shape[axis], axis=axis)
        drawn[..., part] = total
    return drawn


def _sum_of_bands(
    noise: Volume, transfers: Volume, amplitudes: Volume, of_i: Volume, of_j: Volume
) -> Volume:
    """Return the sum of the bands of noise [i, j, k], each times its amplitude at each place.

    amplitudes  [band, x, y, k] on the coarse grid; `of_i` and `of_j` interpolate them
    """
    spectrum = rfft2(noise, axes=_ACROSS)
    total = np.zeros_like(noise)
    for transfer, amplitude in zip(transfers, amplitudes, strict=True):
        filtered = spectrum * transfer[:, : spectrum.shape[1], None]
        band = irfft2(filtered, noise.shape[:2], axes=_ACROSS)
        band *= np.einsum("ix,xyk,jy->ijk", of_i, amplitude, of_j, optimize=True)
        total += band
    return total


def _transfers(
    texture: Texture, pixels: tuple[int, int], pixel_mm: tuple[float, float], fwhm_mm: float
) -> Volume:
    """Return the transfer function [band, i, j] of each band, for frequencies across the axis."""
    i, j = (np.fft.fftfreq(n, mm) for n, mm in zip(pixels, pixel_mm, strict=True))
    across = np.hypot(i[:, None], j)
    power = power_across(across, fwhm_mm) / texture.mean_power(across)
    return np.asarray(bands(i[:, None], j) * _transfer(power), np.float32)


def _pixels(n: int, mm: float, fwhm_mm: float) -> int:
    """Return the number of pixels for n voxels of noise of that width."""
    return min(n, next_fast_len(int(np.ceil(n * mm / (_PIXEL * fwhm_mm))))) if fwhm_mm else n


def _transfer(power: Power) -> Volume:
    """Return the transfer function of a filter that keeps the variance of white noise."""
    return np.asarray(np.sqrt(power / power.mean()), np.float32)


def _normalised(amplitudes: Floats, transfers: Volume) -> Volume:
    """Return the amplitudes [band, x, y, z] for which the sum of the bands has variance 1."""
    products = np.tensordot(transfers, transfers, ((1, 2), (1, 2))) / transfers[0].size
    variance = np.einsum("axyz,bxyz,ab->xyz", amplitudes, amplitudes, products, optimize=True)
    return np.asarray(amplitudes / np.sqrt(variance), np.float32)


def _weights(places: Floats, pixels: int, points: int) -> Volume:
    """Return the weights [pixel, point] that interpolate the coarse grid along one axis.

    places  coordinates of the voxels on the coarse grid, which has `points` points
    pixels  number of pixels of the noise, which may be fewer than the voxels
    """
    voxels = len(places)
    at = np.interp(np.arange(pixels) * voxels / pixels, np.arange(voxels), places)
    return np.asarray(np.maximum(1 - np.abs(at[:, None] - np.arange(points)), 0), np.float32)
