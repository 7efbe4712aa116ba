"""Smooth random fields as sums of plane waves; values do not depend on the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
Range = tuple[float, float]
Axes = tuple[FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class RandomField:
    """A zero-mean field Σ amplitude · cos(k · r + phase).

    k_per_mm [m, 3] in radians per mm, amplitude [m], phase [m] in radians.
    """

    k_per_mm: FloatArray
    amplitude: FloatArray
    phase: FloatArray

    @classmethod
    def random(
        cls, rng: np.random.Generator, count: int, wavelength_mm: Range, sd: float
    ) -> RandomField:
        """Return a random field of `count` plane waves in isotropic directions.

        Wavelengths are log-uniform in the range `wavelength_mm`; `sd` is the standard deviation
        over all positions.
        """
        direction = rng.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        low, high = np.log(wavelength_mm)
        wavelength = np.exp(rng.uniform(low, high, count))
        return cls(
            k_per_mm=direction * (2 * np.pi / wavelength)[:, None],
            amplitude=np.full(count, sd * np.sqrt(2 / count)),
            phase=rng.uniform(0, 2 * np.pi, count),
        )

    @classmethod
    def shear(
        cls, rng: np.random.Generator, count: int, wavelength_mm: Range, sd: float
    ) -> tuple[RandomField, RandomField, RandomField]:
        """Return the components along x, y and z of a displacement that preserves volumes.

        Volumes are preserved to first order: each wave displaces points perpendicularly to its
        direction, so the divergence is zero. `sd` is the standard deviation of each component.
        """
        waves = cls.random(rng, count, wavelength_mm, sd * np.sqrt(3))
        amplitudes = np.cross(waves.k_per_mm, rng.standard_normal((count, 3)))
        amplitudes *= (waves.amplitude / np.linalg.norm(amplitudes, axis=1))[:, None]
        x, y, z = (cls(waves.k_per_mm, amplitude, waves.phase) for amplitude in amplitudes.T)
        return x, y, z

    def on(self, axes_mm: Axes) -> FloatArray:
        """Return the field on the grid spanned by three 1-D axes in mm, float32 [i, j, k].

        A plane wave is a product of one factor per axis, so the sum of waves is a matrix product.
        """
        ex, ey, ez = (
            np.exp(1j * np.outer(axis, k)).astype(np.complex64)
            for axis, k in zip(axes_mm, self.k_per_mm.T, strict=True)
        )
        ex *= (self.amplitude * np.exp(1j * self.phase)).astype(np.complex64)
        # Re(a·b) = Re a Re b − Im a Im b, so complex numbers are viewed as pairs of real numbers.
        xy = (ex[:, None, :] * ey[None, :, :]).reshape(-1, len(self.phase)).view(np.float32)
        field: FloatArray = xy @ np.conj(ez).view(np.float32).T
        return field.reshape(len(ex), len(ey), len(ez))
