"""The published DDPM's network as a regression in the published domain, and as a GAN's generator.

Its input is the measured scan at timestep 0. Its output is the change of the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from petdiff.methods.card import Domain, ModelCard, part_of_card
from petdiff.methods.clipped_suv import CLIP_SUV, ClippedScan, clipped, clipped_scan
from petdiff.methods.mixins import Adversarial
from petdiff.methods.published_ddpm import Size
from petdiff.methods.windowed_regression import WindowedRegression, Windows
from petdiff.networks.discriminator import PatchDiscriminator, least_squares
from petdiff.networks.published import Architecture, PublishedUNet

_WIDTH_RATIO = 2  # generator over discriminator: 128 channels over the 64 of pix2pix
_L1_WEIGHT = 100.0  # relative to the adversarial loss, as in pix2pix


class ClippedWindows(Windows, frozen=True):
    """Windows, and clip_suv, the SUV that is 1 in the network's domain."""

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
        """Return the method that a card describes, without its trained weights."""
        architecture = part_of_card(Architecture, card, "architecture")
        return cls(PublishedUNet(architecture), part_of_card(ClippedWindows, card, "constants"))

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> ClippedScan:
        """Return the scan y [i, j, k], in SUV, in the published domain; `drf` is not used."""
        return clipped_scan(y, self.constants.clip_suv)

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return a pair of scans [i, j, k], in SUV, for the loss [2, i, j, k]: full, low."""
        return clipped(torch.stack([full, low]), self.constants.clip_suv)

    def change(self, fields: Tensor) -> Tensor:
        """Return the network's output [b, 1, i, j, k]; the network's own axes are k, j, i."""
        timestep = torch.zeros(len(fields), device=fields.device)
        output: Tensor = self.network(fields.transpose(2, 4), timestep).transpose(2, 4)
        return output


@dataclass
class PublishedGAN(Adversarial, PublishedRegression):
    """PublishedRegression with an adversarial loss. The discriminator is not saved.

    The losses are those of pix2pix (Isola et al. 2017, arXiv 1611.07004): the mean absolute error,
    and that of a discriminator whose inputs are the measured scan and either the full-dose scan or
    the estimate. The adversarial losses are least squares (Mao et al. 2017, LSGAN, arXiv
    1611.04076), whose gradient does not vanish if the discriminator is certain.
    """

    name: ClassVar[str] = "gan3d"

    @classmethod
    def create(cls, size: Size) -> Self:
        """Return the method with fresh weights and a fresh discriminator."""
        made = super().create(size)
        channels = made.network.architecture.channels // _WIDTH_RATIO
        made.discriminator = PatchDiscriminator(channels)
        return made

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the generator's loss of [b, 2, i, j, k]: absolute error and adversarial loss."""
        full, low = batch.chunk(2, dim=1)
        estimate = self.estimate(low)
        error: Tensor = (estimate - full).abs().mean()
        logits = self._trained_discriminator(low, estimate)
        return _L1_WEIGHT * error + least_squares(logits, 1.0)

    def discriminator_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the discriminator's loss: its target is 1 for full-dose scans, 0 for estimates."""
        full, low = batch.chunk(2, dim=1)
        with torch.no_grad():
            estimate = self.estimate(low)
        discriminator = self._trained_discriminator
        real, fake = discriminator(low, full), discriminator(low, estimate)
        return (least_squares(real, 1.0) + least_squares(fake, 0.0)) / 2
