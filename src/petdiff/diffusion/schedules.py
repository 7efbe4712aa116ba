"""Schedules: the noise levels σ of a sampler, as a 1-D float64 tensor on the CPU.

σ falls from the noisiest level to 0, and may start at ∞, where only noise is left. Timesteps t of a
DDPM count 0 … T−1 from the least noisy. ᾱ_t is the signal's share of the variance. σ_t is the
standard deviation of the noise for a signal scaled to 1.
"""

from __future__ import annotations

import math
from itertools import accumulate, repeat

import torch
from torch import Tensor


def linear_alphas_bar(
    timesteps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02
) -> Tensor:
    """Return ᾱ [timesteps] for linearly growing β. Ho et al. 2020 (arXiv 2006.11239), section 4."""
    betas = torch.linspace(beta_first, beta_last, timesteps, dtype=torch.float64)
    return (1 - betas).cumprod(0)


def cosine_alphas_bar(
    timesteps: int = 1000, offset: float = 0.008, beta_max: float = 0.999
) -> Tensor:
    """Return ᾱ [timesteps] that falls as a squared cosine.

    Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17. β is limited to beta_max, as in the paper, so
    that ᾱ does not reach 0.
    """
    time = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    signal = ((time + offset) / (1 + offset) * math.pi / 2).cos().square()
    betas = (1 - signal[1:] / signal[:-1]).clamp(max=beta_max)
    return (1 - betas).cumprod(0)


def sigmas_of(alphas_bar: Tensor) -> Tensor:
    """Return σ = √((1−ᾱ)/ᾱ), of ᾱ's shape."""
    return ((1 - alphas_bar) / alphas_bar).sqrt()


def ddpm_sigmas(alphas_bar: Tensor, timesteps: Tensor) -> Tensor:
    """Return σ at these timesteps [n], noisiest first, then 0: [n + 1]."""
    sigmas = sigmas_of(alphas_bar)[timesteps].sort(descending=True).values
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def respaced_timesteps(timesteps: int, steps: int) -> Tensor:
    """Return `steps` of the timesteps 0 … timesteps−1, ascending and evenly spaced, int64 [steps].

    The first and the last timestep are included, and those between are rounded, as in Nichol &
    Dhariwal 2021, section 4. A single step is the last timestep. Raises ValueError if there are not
    so many timesteps.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must lie between 1 and {timesteps}, got {steps}")
    if steps == 1:  # only the noisiest level needs no earlier state
        return torch.tensor([timesteps - 1])
    # Summed, not multiplied: rounding errors decide ties, and published results depend on them.
    gap = (timesteps - 1) / (steps - 1)
    return torch.tensor([round(t) for t in accumulate(repeat(gap, steps - 1), initial=0.0)])


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Return σ from sigma_max to sigma_min in `steps` levels, then 0: [steps + 1].

    Levels are evenly spaced in σ^(1/ρ). Karras et al. 2022 (arXiv 2206.00364), eq. 5.
    """
    ramp = torch.linspace(
        sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps, dtype=torch.float64
    )
    sigmas = ramp**rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])
