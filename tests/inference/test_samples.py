"""Samples: running sums, network calls, and the variance of regional activity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.noise import noise_of_samples
from petdiff.errors import UsageError
from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.inference.samples import RunningMoments
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.local_activity import LocalActivity, local_activity
from petdiff.methods.local_ddpm import LocalDDPM
from petdiff.methods.model import Model


@pytest.fixture
def model() -> Model:
    method = Flow3D.create("tiny")
    method.network.eval().requires_grad_(False)
    return Model(method, method.card({}), "random", "0" * 64)


def noisy(shape: tuple[int, int, int] = (24, 24, 24), seed: int = 0) -> PETImage:
    suv = np.random.default_rng(seed).gamma(9, 1 / 3, shape).astype(np.float32)
    return PETImage(suv, np.diag([4.0, 4, 4, 1]))


def test_running_sums_are_mean_and_standard_deviation() -> None:
    samples = torch.randn((7, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=float)
    sums = RunningMoments(samples[0], squares=True, antithetic=False)
    for sample in samples:
        sums.add(sample)
    deviation = sums.standard_deviation()
    assert deviation is not None
    torch.testing.assert_close(sums.mean, samples.mean(0))
    torch.testing.assert_close(deviation, samples.std(0))
    without = RunningMoments(samples[0], squares=False, antithetic=False)
    assert without.standard_deviation() is None


@pytest.mark.parametrize("samples", [2, 3, 4, 5])
def test_deviation_of_antithetic_samples_is_that_of_one_sample(samples: int) -> None:
    """Over many voxels, of samples whose partner has exactly the opposite noise."""
    generator = torch.Generator().manual_seed(3)
    sums = RunningMoments(torch.zeros(40_000), squares=True, antithetic=True)
    for source in noise_of_samples(generator, samples, antithetic=True):
        sums.add(7 + 2 * source(torch.zeros(40_000)))
    deviation = sums.standard_deviation()
    assert deviation is not None
    assert deviation.square().mean().sqrt().item() == pytest.approx(2, rel=0.01)


def test_samples_of_a_ddpm_come_in_pairs_whose_mean_hardly_varies() -> None:
    """Over seeds, the mean of two samples varies far less than one sample; each alone is new."""
    method = LocalDDPM.create("tiny")
    method.network.eval().requires_grad_(False)
    torch.manual_seed(0)
    for parameter in method.network.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    ddpm, image = Model(method, method.card({}), "random", "0" * 64), noisy()

    def drawn(samples: int) -> np.ndarray:
        seeds = range(4)
        images = [denoise(image, ddpm, samples=samples, steps=3, seed=n).image.suv for n in seeds]
        return np.stack(images)

    one, two = drawn(1).std(0), drawn(2).std(0)
    assert 0 < two.mean() < 0.2 * one.mean()


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (1, 4), (8, 3)])
def test_samples_share_the_call_on_pure_noise(
    model: Model, monkeypatch: pytest.MonkeyPatch, samples: int, steps: int
) -> None:
    calls = 0
    original = Flow3D.slab_by_slab

    def counted(self: Flow3D, x: Tensor, *others: Any) -> Iterator[Tensor]:
        nonlocal calls
        calls += 1
        return original(self, x, *others)

    monkeypatch.setattr(Flow3D, "slab_by_slab", counted)
    denoise(noisy(), model, samples=samples, steps=steps)
    assert calls == 2 + samples * (steps - 1)  # two passes of the shared one


def test_on_sample_gets_each_sample_and_changes_nothing_else(model: Model) -> None:
    image, samples_by_index = noisy((20, 24, 22)), {}
    plain = denoise(image, model, samples=3, steps=2)
    with_samples = denoise(image, model, samples=3, steps=2, on_sample=samples_by_index.__setitem__)
    assert list(samples_by_index) == [0, 1, 2]
    assert all(one.shape == image.shape for one in samples_by_index.values())
    assert plain.uncertainty is not None
    assert with_samples.uncertainty is not None
    assert with_samples.image.suv.tobytes() == plain.image.suv.tobytes()
    assert with_samples.uncertainty.suv.tobytes() == plain.uncertainty.suv.tobytes()


def test_regional_noise_is_independent_of_the_noise_that_samples_start_from(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Tensor] = []
    whites: list[Tensor] = []
    sample, regional_error = Flow3D.sample, LocalActivity.regional_error

    def from_noise(self: Flow3D, denoiser: Denoiser, noise: Tensor, *rest: Any) -> Tensor:
        started.append(noise)
        return sample(self, denoiser, noise, *rest)

    def from_white(self: LocalActivity, white: Tensor) -> Tensor:
        whites.append(white.clone())
        return regional_error(self, white)

    monkeypatch.setattr(Flow3D, "sample", from_noise)
    monkeypatch.setattr(LocalActivity, "regional_error", from_white)
    denoise(noisy(), model, samples=2, steps=2, on_sample=lambda n, image: None)
    for noise in started[:2]:
        for white in whites:
            pair = torch.stack([noise.flatten(), white.flatten()])
            assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.05  # of 13,824: 0.009 by chance


def test_regional_means_of_samples_vary_as_the_noise_of_the_scan_makes_them() -> None:
    """A flat scan with white noise: its mean over n voxels varies by noise / √n."""
    noise, n = 0.3, 12
    generator = torch.Generator().manual_seed(1)
    scan = 3 + noise * torch.randn((32, 32, 32), generator=generator)
    condition = local_activity(scan)
    means = []
    for _ in range(60):
        white = torch.randn(scan.shape, generator=generator)
        cube = condition.regional_error(white)[10 : 10 + n, 10 : 10 + n, 10 : 10 + n]
        means.append(float(cube.mean()))
    expected = noise / n**1.5
    assert abs(np.mean(means)) < 4 * expected / np.sqrt(60)
    assert np.std(means) == pytest.approx(expected, rel=0.3)  # of 60: 9 % by chance


def test_with_a_known_dose_only_the_lacking_counts_are_uncertain() -> None:
    scan = torch.from_numpy(noisy().suv)
    white = torch.ones(scan.shape)
    unknown, half = (local_activity(scan, drf=drf).regional_error(white) for drf in (None, 2.0))
    torch.testing.assert_close(half, unknown / 2**0.5)


def test_samples_of_frames_are_refused(model: Model) -> None:
    frames = PETFrames((noisy(), noisy()), (FrameTiming(0.0, 10.0), FrameTiming(10.0, 10.0)))
    with pytest.raises(UsageError, match="on_sample"):
        denoise(frames, model, on_sample=lambda n, image: None)
