"""The noise level against its formula and against theory."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.volume.noise import NOISE_VOXEL_MM, noise_level

AS_IS = (NOISE_VOXEL_MM,) * 3
MM = (2.0, 2.0, 3.0)


def noisy_ball(noise: float, shape: tuple[int, int, int] = (40, 36, 90)) -> NDArray[np.float32]:
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    suv = gaussian_filter(((index**2).sum(0) < 0.6).astype(float), 1.0)
    return (suv + noise * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def test_ranges_of_planes_give_the_result_of_the_whole() -> None:
    suv = noisy_ball(0.3)
    v = np.log1p(np.maximum(suv, 0))
    smooth = gaussian_filter(v, 2.0)
    expected = np.abs(v - smooth).sum(dtype=float) / (smooth > 0.1).sum()
    assert noise_level(suv, AS_IS) == pytest.approx(expected)


def test_white_noise_has_the_level_that_theory_gives() -> None:
    """For white noise of standard deviation s, |v - G∗v| has mean s·√(2/π)·√(1 - 2g0 + g2)."""
    rng = np.random.default_rng(1)
    v = 1.0 + 0.05 * rng.standard_normal((60, 60, 60))
    suv = np.expm1(v).astype(np.float32)
    x = np.arange(-8, 9)
    g = np.exp(-(x**2) / 8)
    g /= g.sum()
    left = 1 - 2 * g[8] ** 3 + (g**2).sum() ** 3
    expected = 0.05 * np.sqrt(2 / np.pi) * np.sqrt(left)
    assert noise_level(suv, AS_IS) == pytest.approx(expected, rel=0.01)


def test_smoothing_lowers_the_level() -> None:
    noisy = noisy_ball(0.3)
    high, low = noise_level(noisy, MM), noise_level(gaussian_filter(noisy, 1.2), MM)
    assert high is not None
    assert low is not None
    assert low < 0.7 * high


def test_air_alone_has_no_level() -> None:
    assert noise_level(np.zeros((8, 8, 8), dtype=np.float32), MM) is None
