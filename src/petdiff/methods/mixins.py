"""Share what several methods have: sampling in one call, and the discriminator of a GAN."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.noise import NoiseSource
from petdiff.methods.base import Method, Objective
from petdiff.networks.discriminator import PatchDiscriminator


class OneCallSampler:
    """The sampler of a deterministic method: one network call, independent of the noise."""

    max_steps: ClassVar[int] = 1

    def sample(self, denoiser: Denoiser, noise: Tensor, steps: int, source: NoiseSource) -> Tensor:
        """Return the posterior mean, in one step."""
        return denoiser(noise, torch.tensor(torch.inf))


@dataclass
class Adversarial(Method):
    """A GAN, whose network is the generator. The discriminator is not saved with the weights."""

    discriminator: PatchDiscriminator | None = field(default=None, kw_only=True)

    @property
    def trained(self) -> nn.Module:
        """The generator and the discriminator."""
        return nn.ModuleDict(
            {"generator": self.network, "discriminator": self._trained_discriminator}
        )

    def objectives(self) -> list[Objective]:
        """Return the generator's loss, then the discriminator's."""
        (generator,) = super().objectives()
        parameters = list(self._trained_discriminator.parameters())
        return [
            replace(generator, name="generator"),
            Objective("discriminator", parameters, self.discriminator_loss),
        ]

    @abstractmethod
    def discriminator_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the discriminator's loss: its target is 1 for full-dose scans, 0 for estimates."""

    @property
    def _trained_discriminator(self) -> PatchDiscriminator:
        if self.discriminator is None:
            raise ValueError(
                "gan3d from a model file has no discriminator, so is not to be trained"
            )
        return self.discriminator
