"""The channelised Hotelling observer where theory gives its answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from petdiff.errors import UsageError
from petdiff.evaluation.detection.observers import (
    auc,
    cross_validated,
    hotelling_template,
    laguerre_gauss,
)
from support.observer_theory import auc_of_snr, hotelling_snr

SHAPE, MM = (9, 9, 7), (2.0, 2.0, 3.0)


def signal(height: float) -> np.ndarray:
    r2 = sum(
        np.square((np.arange(n) - n // 2) * s).reshape([-1 if a == k else 1 for a in range(3)])
        for k, (n, s) in enumerate(zip(SHAPE, MM, strict=True))
    )
    return np.asarray(height * np.exp(-np.asarray(r2) / (2 * 4.0**2)))


def coloured(sigma_mm: float) -> np.ndarray:
    """Covariance of noise whose correlation falls as a Gaussian, with a little white noise."""
    at = np.stack(np.meshgrid(*(s * np.arange(n) for n, s in zip(SHAPE, MM, strict=True)),
                              indexing="ij"), axis=-1).reshape(-1, 3)  # fmt: skip
    apart2 = ((at[:, None] - at[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-apart2 / (4 * sigma_mm**2)) + 0.1 * np.eye(len(at)))


@pytest.mark.parametrize("noise", ["white", "coloured"])
def test_observer_is_as_good_as_theory_says(noise: str) -> None:
    """AUC = Φ(SNR/√2), SNR² = s'C'(CKC')⁻¹Cs: known signal, known background, normal noise."""
    voxels = int(np.prod(SHAPE))
    covariance = 4 * np.eye(voxels) if noise == "white" else coloured(4.0)
    channels = laguerre_gauss(SHAPE, MM, width_mm=12.0)
    s = signal(1.0)
    s *= 1.3 / hotelling_snr(s, covariance, channels)
    rng = np.random.default_rng(5)
    images = (np.linalg.cholesky(covariance) @ rng.standard_normal((voxels, 3000))).T
    present, absent = (images[::2] + s.ravel()) @ channels.T, images[1::2] @ channels.T
    scores = cross_validated(present, absent, ["a", "b", "c"] * 500)
    # Standard error of an AUC near 0.8 from 2 × 1500 scores: 0.008.
    assert auc(*scores) == pytest.approx(auc_of_snr(1.3), abs=0.035)


def test_template_of_many_images_is_the_theoretical_one() -> None:
    rng = np.random.default_rng(6)
    covariance = np.array([[2.0, 0.6], [0.6, 1.0]])
    absent = rng.multivariate_normal([0, 0], covariance, 40_000)
    present = rng.multivariate_normal([1, 0.5], covariance, 40_000)
    expected = np.linalg.inv(covariance) @ [1, 0.5]
    np.testing.assert_allclose(hotelling_template(present, absent), expected, atol=0.03)


def test_matched_channel_in_white_noise_has_the_ideal_snr() -> None:
    """With the signal itself as a channel the observer is ideal: SNR = |s|/σ."""
    s = signal(0.4)
    channel = (s / np.linalg.norm(s)).reshape(1, -1)
    covariance = 9 * np.eye(s.size)
    assert hotelling_snr(s, covariance, channel) == pytest.approx(np.linalg.norm(s) / 3)
    assert hotelling_snr(s, covariance, laguerre_gauss(SHAPE, MM, width_mm=12.0)) <= (
        np.linalg.norm(s) / 3
    )


def test_channels_that_see_nothing_of_the_signal_are_blind() -> None:
    rng = np.random.default_rng(7)
    present, absent = rng.standard_normal((2, 3000, 2))
    scores = cross_validated(present, absent, ["a", "b", "c"] * 1000)
    # Standard error of an AUC of 0.5 from 2 × 3000 scores: 0.0075.
    assert auc(*scores) == pytest.approx(0.5, abs=0.035)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_laguerre_gauss_channels_are_orthonormal(dimensions: int) -> None:
    shape, spacing = (41,) * dimensions, (1.0,) * dimensions  # out to twice the width
    channels = laguerre_gauss(shape, spacing, width_mm=10.0, count=4)
    np.testing.assert_allclose(channels @ channels.T, np.eye(4), atol=1e-3)


def test_auc_is_that_of_mann_and_whitney_ties_and_all() -> None:
    rng = np.random.default_rng(8)
    present, absent = rng.integers(0, 9, 60) + 1.0, rng.integers(0, 9, 45) * 1.0
    u = stats.mannwhitneyu(present, absent).statistic
    assert auc(present, absent) == pytest.approx(u / (60 * 45))
    assert auc([2, 3], [0, 1]) == 1
    assert auc([1.0], [1.0]) == 0.5
    assert auc_of_snr(0) == 0.5


def test_cross_validated_scores_are_by_templates_of_the_others() -> None:
    rng = np.random.default_rng(8)
    groups = [name for name in "abc" for _ in range(20)]
    absent, present = rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 1
    with_signal, without = cross_validated(present, absent, groups)
    others = [n for n, name in enumerate(groups) if name != "b"]
    template = hotelling_template(present[others], absent[others])
    np.testing.assert_allclose(with_signal[20:40], present[20:40] @ template)
    np.testing.assert_allclose(without[20:40], absent[20:40] @ template)
    with pytest.raises(UsageError, match="more images"):
        cross_validated(present, absent, ["a"] * 60)
