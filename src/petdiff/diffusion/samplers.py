"""Samplers: turn unit noise into a clean volume by calling a denoiser at each σ of a schedule.

`sigmas` is 1-D, falls strictly and ends in 0; its first entry may be ∞. The ancestral sampler draws
further noise, from `source`.

Both use one identity. With n = (x − x0)/σ, the noise in x according to the denoiser's estimate, the
state at any other level σ' is x0 + σ'·n. At σ = ∞ the state is n itself, and the same step holds.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from petdiff.diffusion.denoiser import Denoiser, VarianceDenoiser, variance_range
from petdiff.diffusion.noise import NoiseSource


@torch.no_grad()
def sample_dpmpp_2m(denoiser: Denoiser, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Return a sample by DPM-Solver++(2M), second order, one call per step; deterministic.

    Lu et al. 2022 (arXiv 2211.01095), alg. 2: Euler's step with x0 extrapolated, along −log σ, to
    the middle of the step. The first step, without a previous x0, and the step to 0 are Euler's.
    """
    x = first_state(noise, sigmas)
    previous: tuple[Tensor, Tensor] | None = None
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoiser(x, sigma)
        ahead = denoised
        if previous is not None and sigma_next > 0:
            sigma_before, denoised_before = previous
            reach = (sigma / sigma_next).log() / (2 * (sigma_before / sigma).log())
            ahead = denoised + reach * (denoised - denoised_before)
        x = ahead if sigma_next == 0 else ahead + sigma_next * noise_in(x, ahead, sigma)
        previous = sigma, denoised
    return x


@torch.no_grad()
def sample_ancestral(
    denoiser: Denoiser, noise: Tensor, sigmas: Tensor, source: NoiseSource
) -> Tensor:
    """Return a sample by DDPM's ancestral sampler, drawing from the posterior of each step.

    Ho et al. 2020, alg. 2 and eq. 7. The variance of each step is that of a VarianceDenoiser; for
    other denoisers it is the smallest possible, as if their x0 were certain.
    """
    x = first_state(noise, sigmas)
    for sigma, sigma_next in pairwise(sigmas):
        if isinstance(denoiser, VarianceDenoiser):
            denoised, variance = denoiser.with_variance(x, sigma, sigma_next)
        else:
            denoised, variance = denoiser(x, sigma), variance_range(sigma, sigma_next)[0]
        x = denoised + sigma_next**2 / sigma * noise_in(x, denoised, sigma)
        if sigma_next > 0:
            x = x + variance.sqrt() * source(x)
    return x


def first_state(noise: Tensor, sigmas: Tensor) -> Tensor:
    """Return the state at sigmas[0]: noise times sigmas[0], or the noise itself if that is ∞."""
    if sigmas.ndim != 1 or len(sigmas) < 2 or sigmas[-1] != 0 or not (sigmas.diff() < 0).all():
        raise ValueError(
            f"sigmas must fall strictly from a first level to 0, got {sigmas.tolist()}"
        )
    return noise if sigmas[0].isinf() else sigmas[0] * noise


def noise_in(x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
    """Return the unit noise in x if x0 is `denoised`; at σ = ∞, x itself."""
    return x if sigma.isinf() else (x - denoised) / sigma
