"""The DDPM's loss against its definitions and the published code's numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from petdiff.diffusion.losses import add_noise, ddpm_loss
from petdiff.diffusion.schedules import linear_alphas_bar
from petdiff.networks.published import PublishedUNet

ALPHAS_BAR = linear_alphas_bar()
SHAPE = (2, 1, 3, 4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def both(timestep: int) -> Tensor:
    return torch.full((2,), timestep)


def step_in_ddpms_own_scale(x0: Tensor, x_t: Tensor, t: int) -> tuple[Tensor, float, float]:
    """Mean, β and β̃ of x at t−1 given x_t and x0. Ho et al. 2020, eqs. 6 and 7."""
    alpha_bar, before = ALPHAS_BAR[t], ALPHAS_BAR[t - 1]
    beta = 1 - alpha_bar / before
    of_x0 = before.sqrt() * beta / (1 - alpha_bar)
    of_x_t = (1 - beta).sqrt() * (1 - before) / (1 - alpha_bar)
    least = beta * (1 - before) / (1 - alpha_bar)
    return of_x0 * x0 + of_x_t * x_t, float(beta), float(least)


def test_each_sample_gets_the_noise_of_its_own_timestep() -> None:
    x0, noise = normal(*SHAPE), normal(*SHAPE, seed=1)
    x_t = add_noise(x0, noise, torch.tensor([0, 999]), ALPHAS_BAR)
    for i, t in enumerate((0, 999)):
        signal = float(ALPHAS_BAR[t])
        expected = math.sqrt(signal) * x0[i] + math.sqrt(1 - signal) * noise[i]
        torch.testing.assert_close(x_t[i], expected)


@pytest.mark.parametrize("t", [1, 250, 999])
def test_variational_term_is_the_divergence_of_the_two_posteriors(t: int) -> None:
    x0, noise, epsilon, v = (0.3 * normal(*SHAPE, seed=seed) for seed in range(4))
    loss = ddpm_loss(torch.cat([epsilon, v], dim=1), x0, noise, both(t), ALPHAS_BAR)
    x_t = add_noise(x0, noise, both(t), ALPHAS_BAR)
    predicted = (x_t - (1 - ALPHAS_BAR[t]).sqrt() * epsilon) / ALPHAS_BAR[t].sqrt()
    true_mean, beta, least = step_in_ddpms_own_scale(x0, x_t, t)
    mean, *_ = step_in_ddpms_own_scale(predicted, x_t, t)
    log_variance = (v + 1) / 2 * math.log(beta) + (1 - v) / 2 * math.log(least)
    nats = kl_divergence(
        Normal(true_mean, math.sqrt(least)), Normal(mean, (log_variance / 2).exp())
    )
    torch.testing.assert_close(loss.variational, nats.flatten(1).mean(1) / math.log(2))
    torch.testing.assert_close(loss.mse, (noise - epsilon).square().flatten(1).mean(1))
    torch.testing.assert_close(loss.total, loss.mse + loss.variational)


def test_loss_of_a_perfect_output_is_zero() -> None:
    x0, noise = normal(*SHAPE), normal(*SHAPE, seed=1)
    output = torch.cat([noise, -torch.ones_like(noise)], dim=1)
    loss = ddpm_loss(output, x0, noise, both(500), ALPHAS_BAR)
    torch.testing.assert_close(loss.total, torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("found", [-1.0, -0.4, 1.0])
def test_last_steps_probabilities_of_all_levels_sum_to_one(found: float) -> None:
    """The net finds the same x0 whatever it was; the 256 levels it may have been share out 1."""
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64).view(256, 1, 1)
    timestep = torch.zeros(256, dtype=torch.long)
    noise = torch.zeros_like(levels)
    epsilon = (levels - found) * (ALPHAS_BAR[0] / (1 - ALPHAS_BAR[0])).sqrt()
    output = torch.cat([epsilon, torch.ones_like(epsilon)], dim=1)
    bits = ddpm_loss(output, levels, noise, timestep, ALPHAS_BAR).variational
    # Levels of a probability below 1e-12 are given that much, so that the loss stays finite.
    assert float((2**-bits).sum()) == pytest.approx(1, abs=256e-12 + 1e-9)


def test_smallest_variance_of_the_last_step_is_that_of_the_step_before() -> None:
    """It is the clipped posterior variance of the published code, in DDPM's own scale."""
    alphas_bar = torch.tensor([0.5, 0.2], dtype=torch.float64)
    x0 = torch.zeros(1, 1, 1, dtype=torch.float64)
    output = torch.cat([x0, torch.full_like(x0, -1.0)], dim=1)
    bits = ddpm_loss(output, x0, x0, torch.zeros(1, dtype=torch.long), alphas_bar).variational
    beta = 1 - 0.2 / 0.5
    least = beta * (1 - 0.5) / (1 - 0.2)
    share = math.erf(1 / 255 / math.sqrt(2 * least))  # of the level around 0
    assert float(bits) == pytest.approx(-math.log2(share), rel=1e-9)


def test_variational_term_leaves_epsilon_alone_and_trains_the_variance() -> None:
    x0, noise = normal(*SHAPE), normal(*SHAPE, seed=1)
    output = (0.3 * normal(2, 2, 3, 4, seed=2)).requires_grad_()
    timestep = torch.tensor([0, 250])
    ddpm_loss(output, x0, noise, timestep, ALPHAS_BAR).variational.sum().backward()
    assert output.grad is not None
    of_epsilon, of_v = output.grad.chunk(2, dim=1)
    assert (of_epsilon == 0).all()
    assert of_v.isfinite().all()
    assert (of_v[1] != 0).all()


def test_a_volume_of_slices_costs_what_its_slices_cost() -> None:
    """The mean over the slices, taken as samples, is the volume's own loss."""
    x0, noise = normal(2, 1, 3, 4, 5), normal(2, 1, 3, 4, 5, seed=1)
    output, timestep = 0.3 * normal(2, 2, 3, 4, 5, seed=2), torch.tensor([3, 700])
    of_volumes = ddpm_loss(output, x0, noise, timestep, ALPHAS_BAR)
    slices = (volume.movedim(-1, 1).flatten(0, 1) for volume in (output, x0, noise))
    of_slices = ddpm_loss(*slices, timestep.repeat_interleave(5), ALPHAS_BAR)
    for of_volume, of_slice in zip(of_volumes, of_slices, strict=True):
        torch.testing.assert_close(of_slice.view(2, 5).mean(1), of_volume)


@pytest.mark.real
def test_losses_equal_the_published_codes(
    published_network: PublishedUNet, reference: dict[str, Tensor]
) -> None:
    x0, noise, timestep = reference["x0"], reference["noise"], torch.tensor([250])
    x_t = add_noise(x0, noise, timestep, ALPHAS_BAR)
    torch.testing.assert_close(x_t, reference["x250"], rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        output = published_network(torch.cat([x_t, reference["y"]], dim=1), timestep)
    loss = ddpm_loss(output, x0, noise, timestep, ALPHAS_BAR)
    for found, name in zip(loss, ["loss", "mse", "vb"], strict=True):
        torch.testing.assert_close(found, reference[f"loss250_{name}"], rtol=1e-4, atol=0)
