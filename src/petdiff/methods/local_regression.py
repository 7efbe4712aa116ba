"""Regressions of the ratio to local activity: one network call, at pure noise.

Only the objective differs from `flow3d`: fields, network, gate and activity preservation are the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from petdiff.methods.local_activity import ScanChannel, channel
from petdiff.methods.local_denoiser import SIZES, LocalDenoiser
from petdiff.methods.local_training import Example, error_loss, some_doses_unknown, split_example
from petdiff.methods.mixins import Adversarial, OneCallSampler
from petdiff.networks.discriminator import PatchDiscriminator, least_squares

# Relative to the regression's loss, which is about 0.7 at the end of training; lab book 38.
_ADVERSARIAL_WEIGHT = 1.0


@dataclass
class LocalRegression(OneCallSampler, LocalDenoiser):
    """Trained and evaluated at pure noise only."""

    name: ClassVar[str] = "unet3d"

    def example_loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the loss of the estimate at pure noise."""
        r, pure = self._estimate_at_pure_noise(example)
        return error_loss(example, r, pure)

    def _estimate_at_pure_noise(self, example: Example) -> tuple[Tensor, Tensor]:
        """Return the estimate of r [b, 1, i, j, k] at pure noise, and its σ, ∞ [b]."""
        pure = example.r.new_full((len(example.r),), torch.inf)
        return self.estimate(example, torch.zeros_like(example.r), pure), pure


@dataclass
class LocalGAN(Adversarial, LocalRegression):
    """LocalRegression with an adversarial loss. The discriminator is not saved with the weights.

    As in pix2pix (Isola et al. 2017, arXiv 1611.07004) the inputs of the discriminator are the
    measured scan and either the full-dose scan or the estimate. The adversarial losses are least
    squares (Mao et al. 2017, arXiv 1611.04076). The other loss of the generator is that of the
    regression. With the mean absolute error in SUV of the published domain, training soon stopped
    at the identity, which removes no noise.
    """

    name: ClassVar[str] = "gan3d"

    @classmethod
    def create(cls, preset: str = "default") -> Self:
        """Return the method with fresh weights and a fresh discriminator."""
        made = super().create(preset)
        made.discriminator = PatchDiscriminator(SIZES[preset]["widths"][0] // 2)
        return made

    def example_loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the generator's loss: the error of the estimate and the adversarial loss."""
        estimate, pure = self._estimate_at_pure_noise(example)
        logits = self._discriminate(example, estimate)
        error = error_loss(example, estimate, pure)
        return error + _ADVERSARIAL_WEIGHT * least_squares(logits, 1.0)

    def discriminator_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the discriminator's loss: its target is 1 for full-dose scans, 0 for estimates."""
        example = some_doses_unknown(split_example(batch), generator)
        with torch.no_grad():
            estimate, _ = self._estimate_at_pure_noise(example)
        real, fake = self._discriminate(example, example.r), self._discriminate(example, estimate)
        return (least_squares(real, 1.0) + least_squares(fake, 0.0)) / 2

    def _discriminate(self, example: Example, r: Tensor) -> Tensor:
        """Return the discriminator's logits for r and the measured ratio, both 0 in air."""
        weight = example.activity / (example.activity + 1)
        measured = channel(example.fields, ScanChannel.RATIO)
        logits: Tensor = self._trained_discriminator(weight * measured, weight * r)
        return logits
