"""The texture of a scan's noise: how its power is spread over directions across the axis.

A wave in the image is measured by the lines along its crests. The better these lines measure a
wave, the more of it and of its noise each iteration of the reconstruction adds. Once the wave is
reconstructed completely, its noise is lower the better it was measured. In a body of elliptical
section the lines from front to back lose fewer photon pairs than those from side to side. After the
usual number of iterations, waves that run from side to side, whose crests lie along the lines from
front to back, therefore have two to four times the noise power of those from front to back.

A wave of frequency f has the information (`expected`)

    F = ⟨c² / n⟩ over the lines that see it: all for f = 0, otherwise those within an angle of
        about 1 / (σ f) of its crests, with time of flight of standard deviation σ

Each iteration adds the share λ = activity · F / s of what is still missing from the wave. After K
iterations the power of the noise is [1 - (1 - λ)^K]² / F (Barrett, Wilson and Tsui, Phys Med Biol
1994, doi 10.1088/0031-9155/39/5/004).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.thinning.expected import DIRECTIONS, TIME_OF_FLIGHT_SIGMA_MM, Lines, on_blocks
from petdiff.volume.regions import Spacing, Volume

Floats = NDArray[np.float64]

# Fitted by the likelihood of the noise of simulated scans (lab book 35).
_ITERATIONS = 12
_LEAST_FOUND = 1e-6
_FINE_PER_MM = 0.05  # frequency from which on the spread over directions stays the same
_STEP = 2  # every second direction of lines has a band
_BANDS = DIRECTIONS // _STEP


@dataclass(frozen=True, eq=False)
class Texture:
    """Amplitudes of the noise's bands (`bands`), and where they lie in a scan [i, j, k].

    amplitudes  [band, x, y, z] on a coarse grid, up to a factor at each place
    products    [band, band] mean product of two amplitudes over the body
    places      coordinates of the scan's voxels on that grid, along i, j, k
    """

    amplitudes: Floats
    products: Floats
    places: tuple[Floats, Floats, Floats]

    def __getitem__(self, box: tuple[slice, ...]) -> Texture:
        """Return the texture of a part of the scan."""
        i, j, k = (at[cut] for at, cut in zip(self.places, box, strict=True))
        return replace(self, places=(i, j, k))

    def mean_power(self, across: Floats) -> Floats:
        """Return the mean power over the body and all directions, at frequencies in 1/mm."""
        at = np.linspace(0, _FINE_PER_MM, 21)
        angles = np.arange(_BANDS * 4)[:, None] * np.pi / (_BANDS * 4)
        shares = bands(at * np.sin(angles), at * np.cos(angles))
        power = np.einsum("atf,btf,ab->f", shares, shares, self.products) / len(angles)
        return np.asarray(np.interp(across, at, power))


def texture_on(amplitudes: Floats, products: Floats, shape: tuple[int, ...]) -> Texture:
    """Return the texture of a scan of that shape, whose ends are those of the coarse grid."""
    i, j, k = (
        ((np.arange(n) + 0.5) * coarse / n - 0.5).clip(0, coarse - 1)
        for n, coarse in zip(shape, amplitudes.shape[1:], strict=True)
    )
    return Texture(amplitudes, products, (i, j, k))


def local_texture(
    activity: Volume, body: NDArray[np.bool_], lines: Lines, spacing_mm: Spacing
) -> Texture:
    """Return the texture of a scan [i, j, k] with that activity, which is above 0 everywhere."""
    share = 1 / (2 * np.pi**1.5 * TIME_OF_FLIGHT_SIGMA_MM * _FINE_PER_MM)
    coarse, fine = lines.information.mean(axis=0), share * lines.information[::_STEP]
    information = np.concatenate([coarse[None], fine])
    found = on_blocks(activity, spacing_mm) / lines.sensitivity * information
    # Where it is smaller, in air, the difference from 1 would be lost to rounding.
    found = np.clip(found, _LEAST_FOUND, 1)
    power = (1 - (1 - found) ** _ITERATIONS) ** 2 / information
    amplitudes = np.sqrt(power / power[1:].mean(axis=0))
    inside = amplitudes[:, on_blocks(body.astype(np.float32), spacing_mm) > 0.5]
    return texture_on(amplitudes, inside @ inside.T / inside.shape[1], activity.shape)


def bands(i: ArrayLike, j: ArrayLike) -> Floats:
    """Return the share [band, …] of each band at frequencies along i and j in 1/mm; their sum is 1.

    Band 0 is around frequency 0. The others are directions of waves, 30° apart.
    """
    fine = np.minimum(np.hypot(i, j) / _FINE_PER_MM, 1)
    turn = np.arctan2(i, j) / np.pi * _BANDS  # lines at an angle a are along (cos a, -sin a)
    away = [np.abs((turn - band + _BANDS / 2) % _BANDS - _BANDS / 2) for band in range(_BANDS)]
    return np.stack([1 - fine, *(fine * np.maximum(1 - a, 0) for a in away)])
