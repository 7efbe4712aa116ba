"""What a DDPM is trained with: ε by mean squared error, its variance by the variational bound.

Nichol & Dhariwal 2021 (arXiv 2102.09672), section 3.1, for volumes in the range −1 … 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from petdiff.diffusion.denoiser import variance_range
from petdiff.diffusion.schedules import sigmas_of


class DDPMLoss(NamedTuple):
    """Losses of each sample, [b]; `total` is to be minimised; `variational` in bits per voxel."""

    total: Tensor
    mse: Tensor
    variational: Tensor


def add_noise(x0: Tensor, noise: Tensor, timestep: Tensor, alphas_bar: Tensor) -> Tensor:
    """x_t = √ᾱ_t·x0 + √(1−ᾱ_t)·noise. Ho et al. 2020, eq. 4.

    x0, noise [b, …]; timestep [b], whole numbers; alphas_bar [T].
    """
    alpha_bar = _at(timestep, alphas_bar, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def ddpm_loss(
    output: Tensor, x0: Tensor, noise: Tensor, timestep: Tensor, alphas_bar: Tensor
) -> DDPMLoss:
    """L_hybrid (eq. 16) of a network's output [b, 2c, …], ε and v, on add_noise(x0, noise, …).

    The bound's sum over T steps, weighed 1/T, is one term at a random timestep. It trains v alone:
    ε is held still in it.
    """
    epsilon, place = output.chunk(2, dim=1)
    mse = (noise - epsilon).square().flatten(1).mean(1)
    bits = _bits(noise - epsilon.detach(), (place + 1) / 2, x0, timestep, alphas_bar)
    variational = bits.flatten(1).mean(1)
    return DDPMLoss(mse + variational, mse, variational)


def _bits(error: Tensor, share: Tensor, x0: Tensor, timestep: Tensor, alphas_bar: Tensor) -> Tensor:
    """The bound's term L_t in each voxel, where ε is wrong by `error`. Ho et al. 2020, eq. 5.

    For t > 0 the divergence of the net's posterior of the step from the true one. No scaling of x
    changes it, so it is taken for x = x0 + σ·noise, where a wrong ε moves x0 by σ·error. For t = 0
    the surprise at x0 itself.
    """
    sigmas = sigmas_of(alphas_bar)
    sigmas_next = torch.cat([sigmas.new_zeros(1), sigmas[:-1]])
    least, greatest = variance_range(sigmas, sigmas_next)
    # The last step's least is 0, which has no logarithm: the one before stands in, in DDPM's scale.
    least[0] = least[1] * alphas_bar[0]
    log_least, log_greatest = _at(timestep, least.log(), x0), _at(timestep, greatest.log(), x0)
    log_variance = share * log_greatest + (1 - share) * log_least

    shift_of_x0 = _at(timestep, sigmas, x0) * error
    shift = _at(timestep, 1 - (sigmas_next / sigmas) ** 2, x0) * shift_of_x0
    excess = log_least - log_variance
    divergence = (excess.exp() - 1 - excess + shift**2 * (-log_variance).exp()) / 2
    decoding = -_log_probability_of_level(x0, x0 + shift_of_x0, (log_variance / 2).exp())
    last = (timestep == 0).view(-1, *[1] * (x0.ndim - 1))
    nats = torch.where(last, decoding, divergence)
    return nats / math.log(2)


def _log_probability_of_level(
    x0: Tensor, mean: Tensor, spread: Tensor, levels: int = 256
) -> Tensor:
    """Log-probability that a Gaussian lands on x0's level of −1 … 1. Ho et al. 2020, eq. 13.

    The outermost levels reach to infinity.
    """
    half = 1 / (levels - 1)
    below = torch.special.ndtr((x0 - half - mean) / spread)
    above = torch.special.ndtr((x0 + half - mean) / spread)
    below = torch.where(x0 < half - 1, 0.0, below)
    above = torch.where(x0 > 1 - half, 1.0, above)
    return (above - below).clamp(min=1e-12).log()


def _at(timestep: Tensor, table: Tensor, like: Tensor) -> Tensor:
    """table[timestep], as [b, 1, …] beside `like` [b, …], in its dtype and on its device."""
    values = table.to(timestep.device)[timestep].to(like)
    return values.view(-1, *[1] * (like.ndim - 1))
