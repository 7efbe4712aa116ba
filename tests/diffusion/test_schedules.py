"""Noise schedules against their definitions, and against another library."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from petdiff.diffusion.schedules import (
    cosine_alphas_bar,
    ddpm_sigmas,
    karras_sigmas,
    linear_alphas_bar,
    respaced_timesteps,
    sigmas_of,
)


@pytest.mark.parametrize("alphas_bar", [linear_alphas_bar(), cosine_alphas_bar()])
def test_signal_falls_from_nearly_all_to_nearly_none(alphas_bar: Tensor) -> None:
    assert alphas_bar.shape == (1000,)
    assert alphas_bar.dtype == torch.float64
    assert 1 > alphas_bar[0] > 0.999
    assert 0 < alphas_bar[-1] < 1e-4
    assert (alphas_bar.diff() < 0).all()


def test_linear_betas_go_from_the_first_to_the_last() -> None:
    alphas_bar = linear_alphas_bar(5, 0.1, 0.3)
    betas = [1 - after / before for before, after in pairwise([1.0, *alphas_bar.tolist()])]
    assert betas == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3], rel=1e-12)


def test_cosine_is_half_way_down_a_little_before_half_time() -> None:
    """cos²(π/4) = 1/2 where (t + 0.008)/1.008 = 1/2, at t = 0.496; ᾱ is scaled to start at 1."""
    expected = 0.5 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(cosine_alphas_bar()[495]) == pytest.approx(expected, rel=1e-12)


def test_sigma_is_converted_back_to_alpha_bar() -> None:
    alphas_bar = linear_alphas_bar()
    torch.testing.assert_close(1 / (1 + sigmas_of(alphas_bar) ** 2), alphas_bar)


def test_ddpm_sigmas_fall_to_zero_through_the_given_timesteps() -> None:
    alphas_bar = linear_alphas_bar()
    sigmas = ddpm_sigmas(alphas_bar, torch.tensor([0, 400, 999]))
    every = sigmas_of(alphas_bar)
    assert sigmas.tolist() == [every[999], every[400], every[0], 0]


def test_all_steps_are_all_timesteps() -> None:
    assert respaced_timesteps(1000, 1000).tolist() == list(range(1000))


@pytest.mark.parametrize("steps", [2, 7, 50, 333])
def test_spaced_timesteps_hold_both_ends_and_gaps_that_differ_by_one(steps: int) -> None:
    timesteps = respaced_timesteps(1000, steps)
    assert len(timesteps) == steps
    assert (timesteps[0], timesteps[-1]) == (0, 999)
    assert timesteps.diff().max() - timesteps.diff().min() <= 1


def test_single_step_starts_from_the_noisiest() -> None:
    assert respaced_timesteps(1000, 1).tolist() == [999]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_more_steps_than_timesteps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        respaced_timesteps(1000, steps)


@pytest.mark.real
def test_timesteps_are_those_of_the_published_code(reference: dict[str, Tensor]) -> None:
    assert torch.equal(respaced_timesteps(1000, 10), reference["ancestral10_timesteps"])


def test_ties_of_spaced_timesteps_are_decided_by_a_sum_as_in_the_published_code() -> None:
    """The tenth of 20 gaps of 49.95 ends at 499.5, and their sum in floats just below it."""
    total = 0.0
    for _ in range(10):
        total += 999 / 20
    assert total < 499.5 == 10 * (999 / 20)
    assert respaced_timesteps(1000, 21)[10] == 499


def test_karras_sigmas_are_even_in_their_root() -> None:
    sigmas = karras_sigmas(6, 0.01, 50.0, rho=3.0)
    assert sigmas[0] == pytest.approx(50)
    assert sigmas[-2] == pytest.approx(0.01)
    assert sigmas[-1] == 0
    gaps = (sigmas[:-1] ** (1 / 3)).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand_as(gaps))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["linear", "squaredcos_cap_v2"])
def test_alphas_bar_equal_those_of_diffusers(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_schedule=name, beta_start=1e-4, beta_end=0.02)
    ours = {"linear": linear_alphas_bar, "squaredcos_cap_v2": cosine_alphas_bar}[name]()
    torch.testing.assert_close(ours.float(), scheduler.alphas_cumprod, rtol=2e-4, atol=1e-7)


@pytest.mark.oracle
def test_sigmas_equal_those_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.01, sigma_max=50.0, rho=7.0)
    scheduler.set_timesteps(12)
    torch.testing.assert_close(karras_sigmas(12, 0.01, 50.0).float(), scheduler.sigmas)
