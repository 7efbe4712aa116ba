"""DDPM losses: mean squared error for ε, variational bound for the variance.

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
    """Losses of each sample, [b]: `total` is minimised; `variational` is in bits per voxel."""

    total: Tensor
    mse: Tensor
    variational: Tensor


def add_noise(x0: Tensor, noise: Tensor, timestep: Tensor, alphas_bar: Tensor) -> Tensor:
    """Return x_t = √ᾱ_t·x0 + √(1−ᾱ_t)·noise, of x0's shape. Ho et al. 2020, eq. 4.

    x0, noise [b, …]; timestep [b], integers; alphas_bar [T].
    """
    alpha_bar = _at(timestep, alphas_bar, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def ddpm_loss(
    output: Tensor, x0: Tensor, noise: Tensor, timestep: Tensor, alphas_bar: Tensor
) -> DDPMLoss:
    """Return L_hybrid (eq. 16) for the network's output [b, 2c, …] (ε and v) on a noisy volume.

    The network's input was add_noise(x0, noise, timestep, alphas_bar). The bound, a mean over T
    steps, is estimated by the term of one random timestep. It trains v alone: its gradient does not
    reach ε.
    """
    epsilon, v = output.chunk(2, dim=1)
    mse = (noise - epsilon).square().flatten(1).mean(1)
    bits = _bits(noise - epsilon.detach(), (v + 1) / 2, x0, timestep, alphas_bar)
    variational = bits.flatten(1).mean(1)
    return DDPMLoss(mse + variational, mse, variational)


def _bits(error: Tensor, share: Tensor, x0: Tensor, timestep: Tensor, alphas_bar: Tensor) -> Tensor:
    """Return the bound's term L_t in each voxel, for an ε that is wrong by `error`.

    Ho et al. 2020, eq. 5. For t > 0 this is the divergence of the predicted posterior from the true
    one. It does not depend on the scale of x, so it is computed for x = x0 + σ·noise, where an
    error of ε shifts x0 by σ·error. For t = 0 it is the negative log-likelihood of x0.
    """
    sigmas = sigmas_of(alphas_bar)
    sigmas_next = torch.cat([sigmas.new_zeros(1), sigmas[:-1]])
    least, greatest = variance_range(sigmas, sigmas_next)
    # The smallest variance of the last step is 0, which has no logarithm. It is replaced by that of
    # the step before, in the scale of x_t.
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


def _log_probability_of_level(x0: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """Return the log-probability that a Gaussian falls into x0's bin, one of 256 from −1 to 1.

    Ho et al. 2020, eq. 13. The outermost bins extend to infinity.
    """
    half = 1 / 255
    below = torch.special.ndtr((x0 - half - mean) / sd)
    above = torch.special.ndtr((x0 + half - mean) / sd)
    below = torch.where(x0 < half - 1, 0.0, below)
    above = torch.where(x0 > 1 - half, 1.0, above)
    return (above - below).clamp(min=1e-12).log()


def _at(timestep: Tensor, table: Tensor, like: Tensor) -> Tensor:
    """Return table[timestep] as [b, 1, …], with the dimensions, dtype and device of `like`."""
    values = table.to(timestep.device)[timestep].to(like)
    return values.view(-1, *[1] * (like.ndim - 1))
