"""flow3d, the default: a small network, called once for the mean, a few times for a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.noise import NoiseSource
from petdiff.diffusion.samplers import sample_dpmpp_2m
from petdiff.diffusion.schedules import karras_sigmas
from petdiff.methods.local_denoiser import LocalDenoiser
from petdiff.methods.local_training import Example, error_loss, noisy

# Share of the training patches at σ = ∞, because the estimate in one step is the most used.
PURE_NOISE_SHARE = 0.6


@dataclass
class Flow3D(LocalDenoiser):
    """Trained at all noise levels, with extra weight on pure noise; sampled by DPM-Solver++."""

    name: ClassVar[str] = "flow3d"
    can_sample: ClassVar[bool] = True

    def example_loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the denoising loss at uniformly drawn times, or at pure noise for some patches."""
        r = example.r
        b = len(r)
        time = torch.rand(b, generator=generator).clamp(0.02, 0.98).to(r)
        sigma = self.constants.sigma_data * time / (1 - time)
        pure = torch.rand(b, generator=generator).to(r) < PURE_NOISE_SHARE
        x = torch.where(pure.view(-1, 1, 1, 1, 1), 0.0, noisy(r, sigma, generator))
        sigma = torch.where(pure, torch.inf, sigma)
        return error_loss(example, self.estimate(example, x, sigma), sigma)

    def sample(self, denoiser: Denoiser, noise: Tensor, steps: int, source: NoiseSource) -> Tensor:
        """Sample from pure noise; one step gives the posterior mean.

        The levels must end near the posterior standard deviation or below. Samples that end far
        above it would be close to the mean.
        """
        falling = karras_sigmas(steps - 1, *self.constants.sampling_sigmas)
        sigmas = torch.cat([falling.new_tensor([math.inf]), falling])
        return sample_dpmpp_2m(denoiser, noise, sigmas)
