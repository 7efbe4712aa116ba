"""Regressions of the ratio to local activity: asked once, at pure noise.

What differs from `flow3d` is the method alone: fields, network, gate and kept activity are the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from petdiff.methods.base import Objective
from petdiff.methods.card import ModelCard, part_of_card
from petdiff.methods.local_activity import ScanChannel, channel
from petdiff.methods.local_denoiser import (
    SIZES,
    LocalConstants,
    LocalDenoiser,
    fresh_network,
    network_of_card,
)
from petdiff.methods.local_training import Example, error_loss, some_doses_unknown, split_example
from petdiff.methods.network_method import OneAnswer
from petdiff.networks.discriminator import PatchDiscriminator, least_squares

_ADVERSARIAL_WEIGHT = 0.3  # beside the regression's loss, which is about 0.7 in the end


@dataclass
class LocalRegression(OneAnswer, LocalDenoiser):
    """Trained and asked at pure noise alone."""

    name: ClassVar[str] = "unet3d"

    @classmethod
    def create(cls, preset: str) -> Self:
        """Return the method with fresh weights."""
        return cls(fresh_network(preset), LocalConstants())

    @classmethod
    def from_card(cls, card: ModelCard) -> Self:
        """Return the method that a card describes, its weights still to be loaded."""
        constants = part_of_card(LocalConstants, card.constants, f"constants of {card.method}")
        return cls(network_of_card(card), constants)

    def loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the loss of the one answer."""
        answer, pure = self._answer(example)
        return error_loss(example, answer, pure)

    def _answer(self, example: Example) -> tuple[Tensor, Tensor]:
        """Return r [b, 1, i, j, k] as the network has it at pure noise, and that σ, ∞ [b]."""
        pure = example.r.new_full((len(example.r),), torch.inf)
        return self.kept_answer(example, torch.zeros_like(example.r), pure), pure


@dataclass
class LocalGAN(LocalRegression):
    """The same trained against a discriminator, which is not kept with the weights.

    As pix2pix (Isola et al. 2017, arXiv 1611.07004) the discriminator sees the measured scan beside
    a full-dose or a made one; the adversarial losses are those of least squares (Mao et al. 2017,
    arXiv 1611.04076). The other loss is the regression's, which asks for the noise to be taken
    away: the mean absolute error in SUV of the published domain is soon content with the identity.
    """

    discriminator: PatchDiscriminator | None = None
    name: ClassVar[str] = "gan3d"

    @classmethod
    def create(cls, preset: str) -> Self:
        """Return the method with fresh weights and a fresh discriminator."""
        made = super().create(preset)
        made.discriminator = PatchDiscriminator(SIZES[preset]["widths"][0] // 2)
        return made

    @property
    def trained(self) -> nn.Module:
        """The generator and the discriminator."""
        return nn.ModuleDict({"generator": self.network, "discriminator": self._judge})

    def objectives(self) -> list[Objective]:
        """Return the generator's loss, then the discriminator's."""
        made, judge = (list(part.parameters()) for part in (self.network, self._judge))
        return [
            Objective("generator", made, self._loss_of_batch),
            Objective("discriminator", judge, self.discriminator_loss),
        ]

    def loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the generator's loss: to be near, and to pass for a full-dose scan."""
        made, pure = self._answer(example)
        verdict = self._verdict(example, made)
        near = error_loss(example, made, pure)
        return near + _ADVERSARIAL_WEIGHT * least_squares(verdict, 1.0)

    def discriminator_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the discriminator's loss: 1 is wanted for what is real, 0 for what is made."""
        example = some_doses_unknown(split_example(batch), generator)
        with torch.no_grad():
            made, _ = self._answer(example)
        real, fake = self._verdict(example, example.r), self._verdict(example, made)
        return (least_squares(real, 1.0) + least_squares(fake, 0.0)) / 2

    def _verdict(self, example: Example, r: Tensor) -> Tensor:
        """Judge a ratio beside the measured one, both faded out where there is no activity."""
        there = example.activity / (example.activity + 1)
        measured = channel(example.fields, ScanChannel.RATIO)
        answer: Tensor = self._judge(there * measured, there * r)
        return answer

    @property
    def _judge(self) -> PatchDiscriminator:
        if self.discriminator is None:
            raise ValueError(
                "gan3d from a model file has no discriminator, so is not to be trained"
            )
        return self.discriminator
