"""Samplers against Gaussian data, for which the denoiser, the path and the result are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from petdiff.diffusion.denoiser import Denoiser, VarianceDenoiser, variance_range
from petdiff.diffusion.noise import GaussianNoise
from petdiff.diffusion.samplers import sample_ancestral, sample_dpmpp_2m
from petdiff.diffusion.schedules import karras_sigmas

MEAN, SPREAD = 0.3, 0.5  # of the data
Sampler = Callable[..., Tensor]


def ancestral(denoiser: Denoiser, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Sample ancestrally with noise of one seed, so that the arguments are those of DPM-Solver."""
    return sample_ancestral(denoiser, noise, sigmas, seeded(0))


def seeded(seed: int) -> GaussianNoise:
    return GaussianNoise(torch.Generator().manual_seed(seed))


BOTH = [sample_dpmpp_2m, ancestral]


def straight_path(steps: int) -> Tensor:
    """σ = SPREAD · t / (1 − t), t even from 1 to 0: from ∞, as rectified flow goes."""
    t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return SPREAD * t / (1 - t)


class Gaussian:
    """The exact denoiser of x0 ~ N(MEAN, SPREAD²)."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if sigma.isinf():
            return torch.full_like(x, MEAN)
        return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)


class GaussianThatKnowsItsVariance(Gaussian):
    """It knows the exact variance of each step, which the variance of x0 given x widens."""

    def with_variance(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        of_x0 = SPREAD**2 if sigma.isinf() else SPREAD**2 * sigma**2 / (SPREAD**2 + sigma**2)
        pull = 1 - (sigma_next / sigma) ** 2
        variance = variance_range(sigma, sigma_next)[0] + pull**2 * of_x0
        return self(x, sigma), variance.expand_as(x)


def where_the_path_ends(noise: Tensor, sigma_first: float) -> Tensor:
    """Along the probability flow of Gaussian data, (x − mean) / √(sd² + σ²) never changes."""
    if math.isinf(sigma_first):
        return MEAN + SPREAD * noise
    return MEAN + (sigma_first * noise - MEAN) * SPREAD / math.hypot(SPREAD, sigma_first)


def unit_normal(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments(denoiser: Denoiser, sampler: Sampler, sigmas: Tensor) -> tuple[float, float]:
    """Exact mean and standard deviation of what a sampler draws, without drawing.

    On Gaussian data the result is a constant plus a sum of the noises, each times a weight. Voxel k
    is given the k-th noise as 1 and all others as 0, which singles out its weight; the last voxel
    is given none, which leaves the constant.
    """
    noises = iter(torch.eye(len(sigmas), len(sigmas) + 1, dtype=torch.float64))
    start = next(noises)
    if sampler is ancestral:
        drawn = sample_ancestral(denoiser, start, sigmas, lambda x: next(noises))
    else:
        drawn = sampler(denoiser, start, sigmas)
    *weighted, constant = drawn.tolist()
    return constant, math.dist(weighted, [constant] * len(weighted))


def slope_of_error(schedule: Callable[[int], Tensor]) -> float:
    """Return the power of the step size by which DPM-Solver++'s error falls, at 128 to 512."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def error(steps: int) -> float:
        sigmas = schedule(steps)
        exact = where_the_path_ends(noise, float(sigmas[0]))
        return float((sample_dpmpp_2m(Gaussian(), noise, sigmas) - exact).abs().max())

    return math.log(error(128) / error(512)) / math.log(4)


def squares_from_3(steps: int) -> Tensor:
    """Dense towards 0, so that the last step, always of first order, does not show."""
    return 3 * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 2


def test_dpmpp_is_of_second_order() -> None:
    assert slope_of_error(squares_from_3) == pytest.approx(2, abs=0.08)


def test_start_at_infinity_costs_no_order() -> None:
    """But a logarithm: its steps halve, third … σ, the first of them however fine the schedule."""
    assert 1.85 < slope_of_error(straight_path) < 2.05


@pytest.mark.parametrize("sampler", BOTH)
def test_from_infinity_mean_and_standard_deviation_become_those_of_the_data(
    sampler: Sampler,
) -> None:
    mean, spread = moments(Gaussian(), sampler, straight_path(200))
    assert mean == pytest.approx(MEAN, rel=1e-12)
    assert spread == pytest.approx(SPREAD, rel=0.015)


@pytest.mark.parametrize("sampler", BOTH)
def test_from_a_finite_sigma_what_its_noise_lacked_of_the_data_is_missing(
    sampler: Sampler,
) -> None:
    """The start holds σ·noise and no data. What that lacks shrinks along the path to `left` of it,
    and twice where fresh noise takes the place of the start's."""
    left = SPREAD / math.hypot(SPREAD, 3)
    if sampler is ancestral:
        left = left**2
    mean, spread = moments(Gaussian(), sampler, squares_from_3(200))
    assert mean == pytest.approx(MEAN * (1 - left), rel=0.002)
    assert spread == pytest.approx(SPREAD * math.sqrt(1 - left**2), rel=0.02)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_ancestral_is_exact_in_any_number_of_steps_where_the_variance_is(
    steps: int,
) -> None:
    """Its last step gives the mean of x0 given x, whose deviation is sd²/√(sd² + σ²)."""
    sigmas = straight_path(steps)
    mean, spread = moments(GaussianThatKnowsItsVariance(), ancestral, sigmas)
    assert mean == pytest.approx(MEAN, rel=1e-12)
    assert spread == pytest.approx(SPREAD**2 / math.hypot(SPREAD, sigmas[-2]), rel=1e-12)


def test_ancestral_asks_a_variance_denoiser_for_the_variance() -> None:
    assert isinstance(GaussianThatKnowsItsVariance(), VarianceDenoiser)
    assert not isinstance(Gaussian(), VarianceDenoiser)


@pytest.mark.parametrize("sampler", BOTH)
def test_one_step_from_infinity_is_regression(sampler: Sampler) -> None:
    calls: list[tuple[Tensor, Tensor]] = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append((x, sigma))
        return torch.full_like(x, 7.0)

    noise = unit_normal(5)
    x = sampler(denoiser, noise, straight_path(1))
    assert torch.equal(x, torch.full_like(noise, 7.0))
    [(x_of_call, sigma_of_call)] = calls
    assert torch.equal(x_of_call, noise)
    assert sigma_of_call.isinf()


def test_ancestral_from_infinity_is_the_limit_of_starting_ever_higher() -> None:
    noise = unit_normal(50)
    levels = torch.tensor([0.9, 0.4, 0.1, 0.0], dtype=torch.float64)
    from_infinity, from_very_high = (
        sample_ancestral(
            Gaussian(),
            noise,
            torch.cat([torch.tensor([first], dtype=torch.float64), levels]),
            seeded(3),
        )
        for first in (math.inf, 1e7)
    )
    torch.testing.assert_close(from_infinity, from_very_high, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", BOTH)
def test_dtype_and_shape_are_preserved(sampler: Sampler) -> None:
    noise = torch.zeros(1, 1, 2, 3, 4)
    x = sampler(Gaussian(), noise, straight_path(3))
    assert x.shape == noise.shape
    assert x.dtype == torch.float32


@pytest.mark.parametrize("sampler", BOTH)
def test_the_denoiser_is_called_once_at_each_sigma_and_its_last_result_is_the_sample(
    sampler: Sampler,
) -> None:
    calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append((x, sigma, Gaussian()(x, sigma)))
        return calls[-1][2]

    noise, sigmas = unit_normal(3), karras_sigmas(4, 0.1, 5.0)
    drawn = sampler(denoiser, noise, sigmas)
    assert [sigma for _, sigma, _ in calls] == list(sigmas[:-1])
    torch.testing.assert_close(calls[0][0], 5.0 * noise)
    torch.testing.assert_close(calls[-1][2], drawn)


def test_fresh_noise_is_drawn_from_the_generator_only() -> None:
    noise, sigmas = unit_normal(20), karras_sigmas(4, 0.1, 5.0)

    def run(seed: int) -> Tensor:
        torch.manual_seed(torch.seed() % 2**31)
        return sample_ancestral(Gaussian(), noise, sigmas, seeded(seed))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_ancestral_draws_once_for_each_step_but_the_last() -> None:
    drawn: Iterator[Tensor] = iter([torch.ones(3), 2 * torch.ones(3)])
    sample_ancestral(Gaussian(), torch.zeros(3), karras_sigmas(3, 0.1, 5.0), lambda x: next(drawn))
    assert next(drawn, None) is None


@pytest.mark.parametrize(
    "sigmas", [[1.0, 0.5], [0.0], [1.0, 1.0, 0.0], [0.5, 1.0, 0.0], [math.nan, 0.0], [[1.0, 0.0]]]
)
def test_schedule_that_does_not_fall_to_zero_is_refused(sigmas: Any) -> None:
    with pytest.raises(ValueError, match="sigmas must fall"):
        sample_ancestral(Gaussian(), torch.zeros(1), torch.tensor(sigmas), seeded(0))


@pytest.mark.oracle
def test_dpmpp_equals_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.01, sigma_max=50.0, sigma_data=0.5
    )
    scheduler.set_timesteps(8)
    noise = unit_normal(20).float()
    x = 50.0 * noise
    for sigma, timestep in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
        skip = 0.5**2 / (sigma**2 + 0.5**2)
        out = sigma * 0.5 / (sigma**2 + 0.5**2).sqrt()
        x = scheduler.step((Gaussian()(x, sigma) - skip * x) / out, timestep, x).prev_sample
    torch.testing.assert_close(
        sample_dpmpp_2m(Gaussian(), noise, karras_sigmas(8, 0.01, 50.0)), x, rtol=1e-4, atol=1e-5
    )
