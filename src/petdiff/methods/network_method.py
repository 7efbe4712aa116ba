"""Base classes of methods: usual capabilities, sampling in one call, a generator of a GAN."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.samplers import Callback
from petdiff.errors import UsageError
from petdiff.methods.base import Objective
from petdiff.methods.card import Domain, ModelCard
from petdiff.methods.patches import PATCH
from petdiff.networks.discriminator import PatchDiscriminator


class NetworkMethod(ABC):
    """A method with one network. A subclass states the capabilities that differ from these.

    The capabilities are described at petdiff.methods.base.Method.
    """

    name: ClassVar[str]
    domain: ClassVar[Domain]
    network: nn.Module
    constants: BaseModel
    patch: ClassVar[tuple[int, int, int]] = PATCH
    one_call_gives_mean: ClassVar[bool] = True
    can_sample: ClassVar[bool] = False
    accepts_dose: ClassVar[bool] = False
    exact_slabs: ClassVar[bool] = False
    needs_suv: ClassVar[bool] = True

    @property
    def axes(self) -> str:
        """Directions of the network's voxel axes in the patient."""
        return "RAS"

    @property
    def precision(self) -> str:
        """Precision of the network's arithmetic."""
        return "auto"

    @property
    def default_samples(self) -> int:
        """Samples that give the denoised image, unless their number is given."""
        return 1

    @property
    def default_steps(self) -> int:
        """Network calls for one denoised volume."""
        return 1

    @property
    def sampling_steps(self) -> int:
        """Network calls for one sample."""
        return 1

    @property
    def trained(self) -> nn.Module:
        """Everything that training changes."""
        return self.network

    @property
    def architecture(self) -> BaseModel:
        """The architecture of the network."""
        found = self.network.architecture
        assert isinstance(found, BaseModel)
        return found

    @abstractmethod
    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch [b, c, i, j, k] of the method's examples, a scalar."""

    def objectives(self) -> list[Objective]:
        """Return the only loss."""
        return [Objective(self.name, list(self.network.parameters()), self.loss)]

    def card(self, training: Mapping[str, object], *, licence: str = "Apache-2.0") -> ModelCard:
        """Return the card that goes with the weights. `training` must be JSON-serialisable."""
        return ModelCard.model_validate(
            {
                "method": self.name,
                "domain": self.domain,
                "architecture": self.architecture.model_dump(mode="json"),
                "constants": self.constants.model_dump(mode="json"),
                "training": dict(training),
                "licence": licence,
            }
        )


class OneCallSampler:
    """The sampler of a deterministic method: one network call, independent of the noise."""

    name: ClassVar[str]

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """Return the posterior mean. Raises UsageError for more than one step."""
        if steps != 1:
            raise UsageError(f"`steps` is {steps}, but {self.name} takes one step: leave it out")
        sigma = torch.tensor(torch.inf)
        x0 = denoiser(noise, sigma)
        if callback is not None:
            callback(x=noise, i=0, sigma=sigma, denoised=x0)
        return x0


@dataclass
class Adversarial(NetworkMethod):
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
