"""The DDPM adapter against exact Gaussians, the formulas of DDPMs and published numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from petdiff.diffusion.denoiser import (
    DDPMDenoiser,
    VarianceDenoiser,
    ddpm_start,
    variance_range,
)
from petdiff.diffusion.schedules import (
    ddpm_sigmas,
    linear_alphas_bar,
    sigmas_of,
)
from petdiff.networks.published import PublishedUNet

ALPHAS_BAR = linear_alphas_bar()
SIGMAS = sigmas_of(ALPHAS_BAR)
MEAN, SPREAD = 0.3, 0.5


def exact_epsilon(x_t: Tensor, timestep: Tensor) -> Tensor:
    """The expected noise in x_t where x0 ~ N(MEAN, SPREAD²)."""
    signal = ALPHAS_BAR[timestep.long()].view(-1, *[1] * (x_t.ndim - 1))
    return (1 - signal).sqrt() * (x_t - signal.sqrt() * MEAN) / (1 - signal + signal * SPREAD**2)


def stub_denoiser(v: float) -> DDPMDenoiser:
    """An adapter whose network finds no noise, and places the variance at v of its range."""
    return DDPMDenoiser(
        lambda x_t, t: torch.cat([torch.zeros_like(x_t), torch.full_like(x_t, v)], dim=1),
        ALPHAS_BAR,
    )


def timestep_of_call(sigma: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the timestep at which the adapter calls its network."""
    timesteps: list[Tensor] = []

    def network(x_t: Tensor, timestep: Tensor) -> Tensor:
        timesteps.append(timestep)
        return torch.zeros_like(x_t)

    DDPMDenoiser(network, ALPHAS_BAR)(torch.ones(2, 1, 3, dtype=dtype), sigma)
    assert timesteps[0].shape == (2,)
    return timesteps[0][0]


@pytest.mark.parametrize("t", [0, 1, 500, 998, 999])
def test_exact_ddpm_is_the_exact_denoiser(t: int) -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).view(1, 1, 7) * SIGMAS[t]
    denoised = DDPMDenoiser(exact_epsilon, ALPHAS_BAR, clip=None)(x, SIGMAS[t])
    expected = (SPREAD**2 * x + SIGMAS[t] ** 2 * MEAN) / (SPREAD**2 + SIGMAS[t] ** 2)
    torch.testing.assert_close(denoised, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [0, 1, 37, 998, 999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_timestep_is_whole_at_the_levels_of_the_schedule(t: int, dtype: torch.dtype) -> None:
    assert float(timestep_of_call(SIGMAS[t], dtype)) == pytest.approx(t, abs=1e-6)


def test_timestep_between_levels_is_between_and_beyond_them_stays() -> None:
    assert float(timestep_of_call((SIGMAS[4] * SIGMAS[5]).sqrt())) == pytest.approx(4.5)
    assert timestep_of_call(SIGMAS[0] / 10) == 0
    assert timestep_of_call(SIGMAS[-1] * 10) == 999


def test_at_infinity_the_noisiest_timestep_sees_the_noise_itself() -> None:
    noise = torch.linspace(-2, 2, 5).view(1, 1, 5)
    calls: list[tuple[Tensor, float]] = []

    def network(x_t: Tensor, timestep: Tensor) -> Tensor:
        calls.append((x_t, float(timestep)))
        return x_t

    DDPMDenoiser(network, ALPHAS_BAR)(noise, torch.tensor(math.inf))
    [(x_t, timestep)] = calls
    torch.testing.assert_close(x_t, noise)
    assert timestep == 999


def test_clip_holds_x0_in_its_range() -> None:
    x = torch.tensor([[[-2.0, 0.5, 3.0]]])
    silent = [DDPMDenoiser(lambda x_t, t: 0 * x_t, ALPHAS_BAR, clip) for clip in [(-1, 1), None]]
    clipped, free = (denoiser(x, SIGMAS[0]) for denoiser in silent)
    assert clipped.tolist() == [[[-1.0, 0.5, 1.0]]]
    torch.testing.assert_close(free, x)


def test_ends_of_the_learned_range_are_ddpms_two_variances() -> None:
    """β and β̃ of x at the earlier timestep, Ho et al. 2020, eq. 7; there x is scaled by √ᾱ."""
    t, before = 500, 480
    beta = 1 - ALPHAS_BAR[t] / ALPHAS_BAR[before]
    beta_tilde = beta * (1 - ALPHAS_BAR[before]) / (1 - ALPHAS_BAR[t])
    x = torch.zeros(1, 1, 1, dtype=torch.float64)
    for v, expected in [(1, beta), (-1, beta_tilde), (0, (beta * beta_tilde).sqrt())]:
        _, variance = stub_denoiser(v).with_variance(x, SIGMAS[t], SIGMAS[before])
        assert float(variance * ALPHAS_BAR[before]) == pytest.approx(float(expected), rel=1e-9)


def test_at_infinity_the_range_is_that_of_a_state_that_says_nothing_of_x0() -> None:
    """The variance of the next state is σ² for a known x0, and 1 + σ² for white noise as x0."""
    sigma = SIGMAS[700]
    least, greatest = variance_range(torch.tensor(math.inf, dtype=torch.float64), sigma)
    assert (float(least), float(greatest)) == pytest.approx((float(sigma**2), 1 + float(sigma**2)))


def test_without_a_learned_variance_the_least_is_taken() -> None:
    x = torch.zeros(1, 1, 1, dtype=torch.float64)
    plain = DDPMDenoiser(lambda x_t, t: 0 * x_t, ALPHAS_BAR)
    assert isinstance(plain, VarianceDenoiser)
    torch.testing.assert_close(
        plain.with_variance(x, SIGMAS[9], SIGMAS[8])[1],
        stub_denoiser(-1).with_variance(x, SIGMAS[9], SIGMAS[8])[1],
    )


def test_start_gives_the_network_noise_of_unit_variance() -> None:
    """A sampler's x = σ·noise is x_T·√(1 + σ²)."""
    noise = torch.linspace(-2, 2, 5, dtype=torch.float64)
    x = SIGMAS[-1] * ddpm_start(noise, SIGMAS.flip(0))
    torch.testing.assert_close(x / (1 + SIGMAS[-1] ** 2).sqrt(), noise)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="session")
def published(published_network: PublishedUNet, reference: dict[str, Tensor]) -> DDPMDenoiser:
    y = reference["y"]
    return DDPMDenoiser(lambda x_t, t: published_network(torch.cat([x_t, y], 1), t), ALPHAS_BAR)


@pytest.mark.real
@pytest.mark.parametrize("t", [0, 37, 500, 999])
def test_step_equals_the_published_codes(
    t: int, published: DDPMDenoiser, reference: dict[str, Tensor]
) -> None:
    sigma, sigma_next = ddpm_sigmas(ALPHAS_BAR, torch.arange(t + 1))[:2]
    x = reference["x"] / ALPHAS_BAR[t].sqrt()
    with torch.no_grad():
        x0, variance = published.with_variance(x, sigma, sigma_next)
    mean = x0 + (sigma_next / sigma) ** 2 * (x - x0)
    signal_next = 1 / (1 + sigma_next**2)
    assert relative_error(x0, reference[f"pred_xstart_t{t}"]) < 1e-4
    assert relative_error(mean * signal_next.sqrt(), reference[f"mean_t{t}"]) < 1e-4
    if t > 0:  # the last step adds no noise, so its variance is never used
        log_variance = (variance * signal_next).log()
        assert relative_error(log_variance, reference[f"log_variance_t{t}"]) < 1e-4


@pytest.mark.real
@torch.no_grad()
def test_ddim_with_the_adapter_equals_the_published_codes(
    published: DDPMDenoiser, reference: dict[str, Tensor]
) -> None:
    """Song et al. 2021, eq. 12 without fresh noise."""
    sigmas = ddpm_sigmas(ALPHAS_BAR, torch.arange(0, 1000, 100))
    x = sigmas[0] * ddpm_start(reference["ddim10_noises"][0], sigmas)
    for sigma, sigma_next in pairwise(sigmas):
        x0 = published(x, sigma)
        x = x0 + sigma_next / sigma * (x - x0)
    assert relative_error(x, reference["ddim10_out"]) < 1e-4
