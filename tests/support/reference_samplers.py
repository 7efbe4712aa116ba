"""Samplers to compare with: Euler's and Heun's methods, and DDIM."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from petdiff.diffusion import samplers
from petdiff.diffusion.denoiser import Denoiser, variance_range
from petdiff.diffusion.samplers import Callback, first_state, noise_in


@torch.no_grad()
def sample_euler(
    denoiser: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Return a sample by Euler's method on dx/dσ = (x − D)/σ; deterministic.

    Karras et al. 2022, eqs. 1 and 3. One call per step.
    """
    x = first_state(noise, sigmas)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if callback is not None:
            callback(x=x, i=i, sigma=sigma, denoised=denoised)
        x = denoised + sigma_next * noise_in(x, denoised, sigma)
    return x


@torch.no_grad()
def sample_heun(
    denoiser: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Return a sample by Heun's second-order method; deterministic. Karras et al. 2022, alg. 1.

    Two calls per step, except in the step from ∞, where no slope can be averaged, and in the step
    to 0: these are Euler's.
    """
    x = first_state(noise, sigmas)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if callback is not None:
            callback(x=x, i=i, sigma=sigma, denoised=denoised)
        slope = noise_in(x, denoised, sigma)
        ahead = denoised + sigma_next * slope
        if sigma_next > 0 and not sigma.isinf():
            slope_ahead = noise_in(ahead, denoiser(ahead, sigma_next), sigma_next)
            ahead = x + (sigma_next - sigma) * (slope + slope_ahead) / 2
        x = ahead
    return x


@torch.no_grad()
def sample_ddim(
    denoiser: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Return a sample by DDIM: Euler's step with the share `eta` of DDPM's added noise.

    Song et al. 2021, eqs. 12 and 16. `eta` 0 is deterministic.
    """
    x = first_state(noise, sigmas)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if callback is not None:
            callback(x=x, i=i, sigma=sigma, denoised=denoised)
        fresh_variance = eta**2 * variance_range(sigma, sigma_next)[0]
        kept = (sigma_next**2 - fresh_variance).sqrt()
        x = denoised + kept * noise_in(x, denoised, sigma)
        if fresh_variance > 0:
            x = x + fresh_variance.sqrt() * samplers.unit_noise(x, generator)
    return x
