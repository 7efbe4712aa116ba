"""The channelised Hotelling observer where theory gives its answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from petdiff.errors import UsageError
from petdiff.evaluation.detection.observers import (
    auc,
    auc_of_snr,
    cross_validated,
    difference_of_gaussians,
    hotelling_snr,
    hotelling_template,
    laguerre_gauss,
    observe,
    patches,
)

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
@pytest.mark.parametrize("kind", ["laguerre", "dog"])
def test_observer_is_as_good_as_theory_says(noise: str, kind: str) -> None:
    """AUC = Φ(SNR/√2), SNR² = s'C'(CKC')⁻¹Cs: known signal, known background, normal noise."""
    voxels = int(np.prod(SHAPE))
    covariance = 4 * np.eye(voxels) if noise == "white" else coloured(4.0)
    channels = (
        laguerre_gauss(SHAPE, MM, width_mm=12.0)
        if kind == "laguerre"
        else difference_of_gaussians(SHAPE, MM, lowest_per_mm=0.01, step=2.0, width=2.0, count=3)
    )
    s = signal(1.0)
    s *= 1.3 / hotelling_snr(s, covariance, channels)
    rng = np.random.default_rng(5)
    root = np.linalg.cholesky(covariance)
    images = (root @ rng.standard_normal((voxels, 3000))).T.reshape(-1, *SHAPE)
    found = observe(images[::2] + s, images[1::2], channels, generator=rng, resamples=300)
    expected = auc_of_snr(1.3)
    assert found.auc.low < expected < found.auc.high
    assert found.auc.high - found.auc.low < 0.07
    # Standard error of an SNR from 2 × 750 scores, with the template's own error: below 0.06.
    assert found.snr == pytest.approx(1.3, abs=0.2)


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
    images = rng.standard_normal((800, 2))
    images[:400, 1] += 5
    found = observe(
        images[:400], images[400:], np.array([[1.0, 0.0]]), generator=rng, resamples=200
    )
    assert found.auc.low < 0.5 < found.auc.high


@pytest.mark.parametrize("dimensions", [2, 3])
def test_laguerre_gauss_channels_are_orthonormal(dimensions: int) -> None:
    shape, spacing = (41,) * dimensions, (1.0,) * dimensions  # out to twice the width
    channels = laguerre_gauss(shape, spacing, width_mm=10.0, count=4)
    np.testing.assert_allclose(channels @ channels.T, np.eye(4), atol=1e-3)


def test_dog_channels_are_differences_of_gaussians_over_frequency() -> None:
    n, low = 65, 0.03
    channels = difference_of_gaussians(
        (n, n), (1.0, 1.0), lowest_per_mm=low, step=1.5, width=1.6, count=2
    )
    rho = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
    for channel, sigma in zip(channels, low * 1.5 ** np.arange(1, 3), strict=True):
        seen = np.fft.fft2(np.fft.ifftshift(channel.reshape(n, n))).real
        wanted = np.exp(-((rho / (1.6 * sigma)) ** 2) / 2) - np.exp(-((rho / sigma) ** 2) / 2)
        np.testing.assert_allclose(seen / seen.max(), wanted / wanted.max(), atol=2e-3)


def test_auc_is_that_of_mann_and_whitney_ties_and_all() -> None:
    rng = np.random.default_rng(8)
    present, absent = rng.integers(0, 9, 60) + 1.0, rng.integers(0, 9, 45) * 1.0
    u = stats.mannwhitneyu(present, absent).statistic
    assert auc(present, absent) == pytest.approx(u / (60 * 45))
    assert auc([2, 3], [0, 1]) == 1
    assert auc([1.0], [1.0]) == 0.5
    assert auc_of_snr(0) == 0.5


def test_patches_lie_about_their_centres() -> None:
    suv = np.arange(10 * 11 * 12, dtype=np.float32).reshape(10, 11, 12)
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (5, -4, 7)
    taken = patches(suv, affine, [[5 - 2 * 4.2, -4 + 2 * 5, 7 + 3 * 6]], (3, 5, 3))
    np.testing.assert_array_equal(taken[0], suv[3:6, 3:8, 5:8])
    with pytest.raises(UsageError, match="past the image"):
        patches(suv, affine, [[5.0, -4.0, 7.0]], (3, 3, 3))


def test_too_few_images_are_refused() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(UsageError, match="fewer channels"):
        observe(rng.random((8, 20)), rng.random((8, 20)), rng.random((5, 20)), generator=rng)


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
