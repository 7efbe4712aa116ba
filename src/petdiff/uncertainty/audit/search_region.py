"""The p-value of the largest deviation in a smooth random field, corrected for all places.

The deviations of neighbouring voxels are correlated, so that there are fewer independent places
than voxels. The probability that a normal field reaches a threshold at any place is approximated by
the expected Euler characteristic of the region above the threshold (Worsley et al., Hum Brain Mapp
1996;4:58, equation 1). It is computed in three dimensions, for a scan of a single plane in two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Box = tuple[slice, ...]

_LOWEST = 2.5  # standard deviations: below it the formula does not hold, and p is 1
_HIGHEST = 40.0
_EXACT = 1e-9  # standard deviations
# Hermite polynomials of the field's dimension minus 1, which the densities contain.
_POLYNOMIALS: Mapping[int, Callable[[float], float]] = {
    0: lambda z: 0.0,
    1: lambda z: 1.0,
    2: lambda z: z,
    3: lambda z: z**2 - 1,
}


class SearchRegion:
    """The size of the search region at each scale.

    voxels   number of voxels in the body, by scale
    volumes  voxels × root of the determinant of the field's gradient covariance, by scale: the
             number of resolution elements, up to a factor
    dimensions  number of axes along which the body has more than one voxel
    """

    def __init__(
        self, voxels: Sequence[int], volumes: Sequence[float], dimensions: int = 3
    ) -> None:
        self.voxels, self.volumes = tuple(voxels), tuple(volumes)
        self.dimensions = dimensions

    @classmethod
    def of(cls, deviations: Sequence[NDArray[np.float32]], body: NDArray[np.bool_]) -> SearchRegion:
        """Return the search region of standardised deviations [i, j, k] at several scales."""
        count = int(body.sum())
        axes = [axis for axis in range(3) if _neighbours(body, axis)[2].any()]
        volumes = [count * _roughness(z, body, axes) for z in deviations]
        return cls([count] * len(deviations), volumes, len(axes))

    def p_value(self, z: float) -> float:
        """Return the probability that noise alone deviates by z, of either sign, at any place.

        It is the sum over scales, which is an upper bound for correlated scales.
        """
        z = abs(z)
        if z < _LOWEST:
            return 1.0
        tail = 2 * float(ndtr(-z))
        polynomial = _POLYNOMIALS[self.dimensions](z)
        density = (2 * np.pi) ** -((self.dimensions + 1) / 2) * polynomial * np.exp(-(z**2) / 2)
        density *= 2  # both signs
        of_scale = [
            min(n * tail, volume * density + tail)
            for n, volume in zip(self.voxels, self.volumes, strict=True)
        ]
        return float(min(sum(of_scale), 1.0))

    def threshold(self, alpha: float) -> float:
        """Return the deviation whose p-value is alpha, by bisection."""
        if self.p_value(_LOWEST) <= alpha:
            return _LOWEST
        low, high = _LOWEST, _HIGHEST
        while high - low > _EXACT:
            middle = (low + high) / 2
            low, high = (middle, high) if self.p_value(middle) > alpha else (low, middle)
        return high


def _roughness(z: NDArray[np.float32], body: NDArray[np.bool_], axes: Sequence[int]) -> float:
    """Return the product over axes of the root mean square step between voxels of the body."""
    product, size = 1.0, float(np.sqrt(np.mean(np.minimum(z[body] ** 2, 16)))) or 1.0
    for axis in axes:
        before, after, both = _neighbours(body, axis)
        steps = (z[after] - z[before])[both] / size
        product *= float(np.sqrt(np.mean(np.minimum(steps**2, 16))))
    return product


def _neighbours(body: NDArray[np.bool_], axis: int) -> tuple[Box, Box, NDArray[np.bool_]]:
    """Return the voxels before and after each step along an axis, and the steps in the body."""
    before, after = (
        tuple(part if a == axis else slice(None) for a in range(3))
        for part in (slice(-1), slice(1, None))
    )
    return before, after, body[before] & body[after]
