"""gan3d: the published DDPM's network as the generator of a conditional GAN, asked once.

Trained as pix2pix (Isola et al. 2017, arXiv 1611.07004): mean absolute error, and a discriminator
that sees the measured scan beside a real or a made one. The adversarial losses are those of least
squares (Mao et al. 2017, LSGAN, arXiv 1611.04076), whose gradient does not vanish where the
discriminator is sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from petdiff.methods.unet3d import UNet3D
from petdiff.networks.discriminator import PatchDiscriminator

if TYPE_CHECKING:
    from petdiff.methods.objective import Objective

# Measured: parameters of generator and discriminator; FLOP per voxel.
PRESETS: dict[str, dict[str, Any]] = {
    # 97,489 and 11,805; 71 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,390,577 and 44,089; 240 k
    "default": {"channels": 16, "residual_blocks": 1},
    # 206,957,697 and 2,646,465; 22.2 M
    "paper": {"channels": 128},
}
_DISCRIMINATOR_SHARE = 2  # of the generator's width: pix2pix has 64 channels, the generator 128
_L1_WEIGHT = 100.0  # beside the adversarial loss, as pix2pix


@dataclass
class GAN3D(UNet3D):
    """As UNet3D, but trained against a discriminator, which is not kept with the weights."""

    discriminator: PatchDiscriminator | None = None
    name: ClassVar[str] = "gan3d"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS

    @classmethod
    def create(cls, preset: str = "default") -> Self:
        """With fresh weights and a fresh discriminator."""
        made = super().create(preset)
        channels = made.network.architecture.channels // _DISCRIMINATOR_SHARE
        made.discriminator = PatchDiscriminator(channels)
        return made

    @property
    def trained(self) -> nn.Module:
        """The generator and the discriminator."""
        return nn.ModuleDict({"generator": self.network, "discriminator": self._judge})

    def objectives(self) -> list[Objective]:
        """The generator's loss, then the discriminator's."""
        from petdiff.methods.objective import Objective

        made, judge = (list(part.parameters()) for part in (self.network, self._judge))
        return [
            Objective("generator", made, self.loss),
            Objective("discriminator", judge, self.discriminator_loss),
        ]

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """The generator's, over examples [b, 2, i, j, k]: to be near, and to pass for real."""
        full, low = batch.chunk(2, dim=1)
        made = self.answer(low)
        near: Tensor = (made - full).abs().mean()
        return _L1_WEIGHT * near + least_squares(self._judge(low, made), 1.0)

    def discriminator_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """The discriminator's: 1 for what is real, 0 for what is made."""
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


def least_squares(verdict: Tensor, wanted: float) -> Tensor:
    """LSGAN's loss of a verdict, eqs. 2 and 9 with labels 0 and 1: a scalar."""
    return (verdict - wanted).square().mean()
