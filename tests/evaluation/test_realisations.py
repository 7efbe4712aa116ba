"""Bias and variance over noise realisations, where both are known."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from petdiff.errors import UsageError
from petdiff.evaluation.realisations import Ensemble, bias_and_variance

SHAPE = (12, 11, 10)
LABELS = np.zeros(SHAPE, dtype=np.uint8)
LABELS[1:6], LABELS[6:] = 1, 3
NAMES = {1: "liver", 3: "lung"}


def truth() -> np.ndarray:
    return np.where(LABELS == 1, 2, np.where(LABELS == 3, 0.5, 0)).astype(np.float32)


def test_sums_in_passing_are_those_of_the_stack() -> None:
    """Far from zero too, where a sum of squares would cancel."""
    stack = 1e4 + np.random.default_rng(0).standard_normal((7, *SHAPE))
    ensemble = Ensemble()
    for image in stack:
        ensemble.add(image)
    np.testing.assert_allclose(ensemble.mean(), stack.mean(0), rtol=1e-14)
    np.testing.assert_allclose(ensemble.variance(), stack.var(0, ddof=1), rtol=1e-9)


def test_known_bias_and_noise_are_found() -> None:
    """Liver 10 % low with noise of 0.2, lung unbiased with 0.1, the means moved by 0.03 a scan."""
    rng, count = np.random.default_rng(1), 200
    low = truth() * np.where(LABELS == 1, 0.9, 1)
    sigma = np.where(LABELS == 1, 0.2, 0.1)
    images = (
        low + sigma * rng.standard_normal(SHAPE) + 0.03 * rng.standard_normal()
        for _ in range(count)
    )
    found = bias_and_variance(images, truth(), LABELS, NAMES)
    assert found.count == count
    liver, lung = found.regions
    assert (liver.name, lung.name) == ("liver", "lung")
    assert liver.voxels == 5 * 110
    assert liver.bias == pytest.approx(-0.1, abs=4 * liver.bias_error)
    assert lung.bias == pytest.approx(0, abs=4 * lung.bias_error)
    assert liver.repeatability == pytest.approx(np.hypot(0.03, 0.2 / np.sqrt(550)) / 2, rel=0.2)
    assert liver.bias_error == pytest.approx(liver.repeatability / np.sqrt(count))
    assert liver.ensemble_noise == pytest.approx(np.hypot(0.2, 0.03) / 2, rel=0.03)
    assert liver.cov == pytest.approx(0.2 / 1.8, rel=0.03)
    assert lung.ensemble_noise == pytest.approx(np.hypot(0.1, 0.03) / 0.5, rel=0.03)
    assert liver.voxel_bias == pytest.approx(0.1, abs=0.01)
    assert found.variance[LABELS == 1].mean() == pytest.approx(0.2**2 + 0.03**2, rel=0.05)
    assert found.bias[LABELS == 1].mean() == pytest.approx(-0.2, abs=0.02)


def test_few_realisations_do_not_pass_for_bias() -> None:
    """The mean of 20 images is noisy still; that noise is taken off each voxel's bias."""
    rng = np.random.default_rng(2)
    images = [truth() + 0.3 * rng.standard_normal(SHAPE) for _ in range(20)]
    liver = bias_and_variance(images, truth(), LABELS, NAMES).regions[0]
    apparent = 0.3 / np.sqrt(20) / 2
    assert liver.voxel_bias < apparent / 2


def test_one_image_at_a_time_is_held() -> None:
    alive: list[int] = []
    most = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal most
        for n in range(25):
            image = truth() + np.float32(n)
            alive.append(n)
            weakref.finalize(image, alive.remove, n)
            most = max(most, len(alive))
            yield image

    bias_and_variance(images(), truth(), LABELS, NAMES)
    assert most <= 2  # the one before is let go of once the next has come


def test_what_has_no_variance_is_refused() -> None:
    with pytest.raises(UsageError, match="at least two"):
        bias_and_variance([truth()], truth(), LABELS, NAMES)
    with pytest.raises(UsageError, match="shape"):
        bias_and_variance([truth(), truth()[1:]], truth(), LABELS, NAMES)
    with pytest.raises(UsageError, match="at least one"):
        Ensemble().mean()
