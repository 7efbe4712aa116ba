"""The p-value of the largest deviation in a smooth random field.

The deviations of neighbouring voxels are correlated, so that there are fewer independent places
than voxels. The probability that a normal field reaches a threshold at any place is approximated by
the expected Euler characteristic of the region above the threshold (Worsley et al., Hum Brain Mapp
1996;4:58, equation 1, in three dimensions).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

_LOWEST = 2.5  # standard deviations: below it the formula does not hold, and p is 1
_HIGHEST = 40.0
_EXACT = 1e-9  # standard deviations


class Places:
    """The size of the search region at each scale.

    voxels   number of voxels in the body, by scale
    volumes  voxels × root of the determinant of the field's gradient covariance, by scale: the
             number of resolution elements, up to a factor
    """

    def __init__(self, voxels: Sequence[int], volumes: Sequence[float]) -> None:
        self.voxels, self.volumes = tuple(voxels), tuple(volumes)

    @classmethod
    def of(cls, deviations: Sequence[NDArray[np.float32]], body: NDArray[np.bool_]) -> Places:
        """Return the search region of standardised deviations [i, j, k] at several scales."""
        count = int(body.sum())
        return cls([count] * len(deviations), [count * _roughness(z, body) for z in deviations])

    def p_value(self, z: float) -> float:
        """Return the probability that noise alone deviates by z, of either sign, at any place.

        It is the sum over scales, which is an upper bound for correlated scales.
        """
        z = abs(z)
        if z < _LOWEST:
            return 1.0
        tail = 2 * float(ndtr(-z))
        density = (2 * np.pi) ** -2 * (z**2 - 1) * np.exp(-(z**2) / 2) * 2  # of both signs
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


def _roughness(z: NDArray[np.float32], body: NDArray[np.bool_]) -> float:
    """Return the product over axes of the root mean square step between voxels of the body."""
    product, size = 1.0, float(np.sqrt(np.mean(np.minimum(z[body] ** 2, 16)))) or 1.0
    for axis in range(3):
        if z.shape[axis] < 2:
            return 0.0
        before, after = (
            tuple(part if a == axis else slice(None) for a in range(3))
            for part in (slice(-1), slice(1, None))
        )
        steps = (z[after] - z[before])[body[before] & body[after]] / size
        product *= float(np.sqrt(np.mean(np.minimum(steps**2, 16)))) if steps.size else 0.0
    return product
