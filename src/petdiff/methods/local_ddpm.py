"""A DDPM of the ratio to local activity: trained at its timesteps, sampled from one to the next.

Only the diffusion process differs from `flow3d`: fields, network, gate and activity preservation
are the same. The forward process is that of Ho et al. 2020 (arXiv 2006.11239) with the schedule of
Nichol & Dhariwal 2021 (arXiv 2102.09672), a cosine, for r / σ_data, which has unit variance. At
timestep t the noise in r has the standard deviation σ_t = σ_data √((1−ᾱ_t)/ᾱ_t). The network
predicts the velocity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.noise import NoiseSource
from petdiff.diffusion.samplers import sample_ancestral
from petdiff.diffusion.schedules import cosine_alphas_bar, karras_sigmas, sigmas_of
from petdiff.methods.card import ModelCard
from petdiff.methods.local_denoiser import LocalConstants, LocalDenoiser
from petdiff.methods.local_training import Example, error_loss, noisy


class DDPMConstants(LocalConstants, frozen=True):
    """The constants of LocalConstants and of the schedule."""

    timesteps: int = Field(default=1000, ge=2, le=100_000, description="as Ho et al. 2020")
    cosine_offset: float = Field(default=0.008, gt=0, le=1, description="Nichol & Dhariwal, eq. 17")
    beta_max: float = Field(default=0.999, gt=0, lt=1, description="Nichol & Dhariwal, section 3.2")
    sampling_steps: int = Field(
        default=8, ge=1, le=10_000, description="network calls of a sample; lab book 38"
    )
    samples: int = Field(
        default=4, ge=1, le=10_000, description="samples of which the image is the mean; chosen"
    )


@dataclass
class LocalDDPM(LocalDenoiser):
    """Trained at the timesteps that sampling uses; sampled ancestrally at a few of them."""

    constants: DDPMConstants
    name: ClassVar[str] = "ddpm3d"
    Constants: ClassVar[type[LocalConstants]] = DDPMConstants
    one_call_gives_mean: ClassVar[bool] = False
    can_sample: ClassVar[bool] = True

    @classmethod
    def from_card(cls, card: ModelCard) -> Self:
        """Return the method that a card describes, without its trained weights."""
        # Cards that were made before `samples` existed lack it. Their image is one sample.
        constants = {"samples": 1} | card.constants
        return super().from_card(card.model_copy(update={"constants": constants}))

    @property
    def default_samples(self) -> int:
        """Samples that give the denoised image, unless their number is given."""
        return self.constants.samples

    def timestep_sigmas(self) -> Tensor:
        """Return the noise σ in r at each timestep, ascending, float64 [timesteps]."""
        c = self.constants
        alphas_bar = cosine_alphas_bar(c.timesteps, c.cosine_offset, c.beta_max)
        return c.sigma_data * sigmas_of(alphas_bar)

    @property
    def max_steps(self) -> int:
        """The number of intermediate timesteps, and one for the call on pure noise."""
        levels = self.timestep_sigmas()
        low, high = _nearest(levels, levels.new_tensor(self.constants.sampling_sigmas)).tolist()
        return int(high - low + 2)

    def schedule(self, steps: int) -> Tensor:
        """Return the σ of a sampler: ∞, then `steps` − 1 of the timesteps' σ, then 0.

        The first call, on pure noise, gives the posterior mean. Sampling continues at an
        intermediate level above the posterior standard deviation of r (`sampling_sigmas`), because
        the many timesteps above this level would not change the sample. Where several wanted levels
        have the same nearest timestep, the next timesteps that are free are used.
        """
        levels = self.timestep_sigmas()
        pure = levels.new_tensor([math.inf])
        if steps == 1:
            return torch.cat([pure, levels.new_zeros(1)])
        wanted = karras_sigmas(steps - 1, *self.constants.sampling_sigmas)[:-1]
        visited = _distinct(_nearest(levels, wanted.flip(0))).flip(0)
        return torch.cat([pure, levels[visited], levels.new_zeros(1)])

    def example_loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the denoising loss at uniformly drawn timesteps.

        Three in ten timesteps lie above the highest intermediate level, where sampling uses pure
        noise only. These are trained at pure noise.
        """
        r = example.r
        timestep = torch.randint(self.constants.timesteps, (len(r),), generator=generator)
        sigma = self.timestep_sigmas()[timestep].to(r)
        x = noisy(r, sigma, generator)
        pure = sigma > self.constants.sampling_sigmas[1]
        x = x.masked_fill(pure.view(-1, 1, 1, 1, 1), 0.0)
        sigma = sigma.masked_fill(pure, torch.inf)
        return error_loss(example, self.estimate(example, x, sigma), sigma)

    def sample(self, denoiser: Denoiser, noise: Tensor, steps: int, source: NoiseSource) -> Tensor:
        """Sample ancestrally; one step is the posterior mean."""
        sigmas = self.schedule(steps)
        return sample_ancestral(denoiser, noise, sigmas, source)


@dataclass
class LocalDDPM2D(LocalDDPM):
    """LocalDDPM with a 2-D network over i and j: each axial slice is denoised separately.

    Slices are related only by the fields and by activity preservation, which use the whole volume.
    """

    name: ClassVar[str] = "ddpm2d"
    dims: ClassVar[Literal[2, 3]] = 2


def _nearest(levels: Tensor, sigmas: Tensor) -> Tensor:
    """Return the index of the level that is nearest to each σ in log σ."""
    return (levels.log()[None] - sigmas.log()[:, None]).abs().argmin(1)


def _distinct(indices: Tensor) -> Tensor:
    """Return ascending indices moved up to the next free one, and down again below the last."""
    n = torch.arange(len(indices))
    return torch.minimum((indices - n).cummax(0).values, indices[-1] - n[-1]) + n
