"""The published DDPM's network as a regressor, in the published domain; and as a GAN's generator.

It sees the measured scan alone, at timestep 0, and answers its change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from petdiff.methods.base import Objective
from petdiff.methods.card import Domain, ModelCard, part_of_card
from petdiff.methods.clipped_suv import CLIP_SUV, ClippedScan, clipped, clipped_scan
from petdiff.methods.published_ddpm import Size
from petdiff.methods.windowed_regression import WindowedRegression, Windows
from petdiff.networks.discriminator import PatchDiscriminator, least_squares
from petdiff.networks.published import Architecture, PublishedUNet

_DISCRIMINATOR_SHARE = 2  # of the generator's width: pix2pix has 64 channels, the generator 128
_L1_WEIGHT = 100.0  # beside the adversarial loss, as pix2pix


class ClippedWindows(Windows):
    """As Windows; clip_suv is the SUV that is 1 in the network's domain."""

    clip_suv: float = Field(gt=0, le=1e6, default=CLIP_SUV)


@dataclass
class PublishedRegression(WindowedRegression):
    """The published network with one channel in and one out, trained by mean squared error."""

    network: PublishedUNet
    constants: ClippedWindows
    name: ClassVar[str] = "unet3d"
    domain: ClassVar[Domain] = "clipped_suv"

    @classmethod
    def create(cls, size: Size) -> Self:
        """Return the method with fresh weights."""
        architecture = Architecture.scaled(**size, in_channels=1, out_channels=1)
        return cls(PublishedUNet(architecture), ClippedWindows())

    @classmethod
    def from_card(cls, card: ModelCard) -> Self:
        """Return the method that a card describes, its weights still to be loaded."""
        where = f"architecture of {card.method}"
        architecture = part_of_card(Architecture, card.architecture, where)
        constants = part_of_card(ClippedWindows, card.constants, f"constants of {card.method}")
        return cls(PublishedUNet(architecture), constants)

    def architecture(self) -> Architecture:
        """Return what the network is made of."""
        return self.network.architecture

    @property
    def multiple(self) -> int:
        """Axes of a window must be multiples of it."""
        return self.network.architecture.inner_multiple

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> ClippedScan:
        """Return the scan y [i, j, k], in SUV, in the published domain; `drf` is not used."""
        return clipped_scan(y, self.constants.clip_suv)

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return a pair of scans [i, j, k], in SUV, as the loss sees it [2, i, j, k]: full, low."""
        return clipped(torch.stack([full, low]), self.constants.clip_suv)

    def change(self, fields: Tensor) -> Tensor:
        """Return the network's answer; its axes are axial first, as in the published DDPM."""
        timestep = torch.zeros(len(fields), device=fields.device)
        answer: Tensor = self.network(fields.transpose(2, 4), timestep).transpose(2, 4)
        return answer


@dataclass
class PublishedGAN(PublishedRegression):
    """The same trained against a discriminator, which is not kept with the weights.

    Trained as pix2pix (Isola et al. 2017, arXiv 1611.07004): mean absolute error, and a
    discriminator that sees the measured scan beside a real or a made one. The adversarial losses
    are those of least squares (Mao et al. 2017, LSGAN, arXiv 1611.04076), whose gradient does not
    vanish where the discriminator is sure.
    """

    discriminator: PatchDiscriminator | None = None
    name: ClassVar[str] = "gan3d"

    @classmethod
    def create(cls, size: Size) -> Self:
        """Return the method with fresh weights and a fresh discriminator."""
        made = super().create(size)
        channels = made.network.architecture.channels // _DISCRIMINATOR_SHARE
        made.discriminator = PatchDiscriminator(channels)
        return made

    @property
    def trained(self) -> nn.Module:
        """The generator and the discriminator."""
        return nn.ModuleDict({"generator": self.network, "discriminator": self._judge})

    def objectives(self) -> list[Objective]:
        """Return the generator's loss, then the discriminator's."""
        made, judge = (list(part.parameters()) for part in (self.network, self._judge))
        return [
            Objective("generator", made, self.loss),
            Objective("discriminator", judge, self.discriminator_loss),
        ]

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the generator's loss of examples [b, 2, i, j, k]: to be near, to pass for real."""
        full, low = batch.chunk(2, dim=1)
        made = self.answer(low)
        near: Tensor = (made - full).abs().mean()
        return _L1_WEIGHT * near + least_squares(self._judge(low, made), 1.0)

    def discriminator_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the discriminator's loss: 1 is wanted for what is real, 0 for what is made."""
        full, low = batch.chunk(2, dim=1)
        with torch.no_grad():
            made = self.answer(low)
        real, fake = self._judge(low, full), self._judge(low, made)
        return (least_squares(real, 1.0) + least_squares(fake, 0.0)) / 2

    @property
    def _judge(self) -> PatchDiscriminator:
        if self.discriminator is None:
            raise ValueError(
                "gan3d from a model file has no discriminator, so is not to be trained"
            )
        return self.discriminator
