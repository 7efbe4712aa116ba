"""logunet: a small U-Net on log(1 + SUV), evaluated once, trained by mean squared error.

It follows the second place of the 2025 ultra-low-dose PET challenge (public code, Apache-2.0:
KUL-recon-lab/2025_ud_pet_kul) and is a small baseline for the other methods. The differences are
listed in docs/explanation/methods.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from petdiff.methods.base import Condition, require_preset
from petdiff.methods.card import Domain, ModelCard, part_of_card
from petdiff.methods.windowed_regression import WindowedRegression, Windows
from petdiff.networks.plain_unet import PlainArchitecture, PlainUNet

# Measured parameters and FLOP per voxel. The published size is small enough to be the default.
PRESETS: dict[str, PlainArchitecture] = {
    # 97,497; 29 k
    "tiny": PlainArchitecture(features=8, levels=2),
    # 1,606,257; 133 k
    "default": PlainArchitecture(features=16, levels=3),
    "paper": PlainArchitecture(features=16, levels=3),
}


@dataclass(frozen=True)
class LogScan(Condition):
    """A scan as sign · log(1 + |SUV|), fields [1, i, j, k]."""

    fields: Tensor

    def decode(self, x: Tensor) -> Tensor:
        """Return a volume of the domain [i, j, k] in SUV."""
        return x.sign() * x.abs().expm1()


@dataclass
class LogUNet(WindowedRegression):
    """A plain U-Net that predicts the change of log(1 + SUV)."""

    network: PlainUNet
    name: ClassVar[str] = "logunet"
    domain: ClassVar[Domain] = "log_suv"

    @classmethod
    def create(cls, preset: str = "default") -> LogUNet:
        """Return the method with fresh weights."""
        require_preset(cls.name, preset, list(PRESETS))
        return cls(PlainUNet(PRESETS[preset]), Windows())

    @classmethod
    def from_card(cls, card: ModelCard) -> LogUNet:
        """Return the method that a card describes, without its trained weights."""
        architecture = part_of_card(PlainArchitecture, card, "architecture")
        return cls(PlainUNet(architecture), part_of_card(Windows, card, "constants"))

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> LogScan:
        """Return the scan y [i, j, k], in SUV, as its logarithm; `drf` is not used."""
        return LogScan(compressed(y)[None])

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return a pair of scans [i, j, k], in SUV, for the loss [2, i, j, k]: full, low."""
        return compressed(torch.stack([full, low]))

    def change(self, fields: Tensor) -> Tensor:
        """Return the network's output [b, 1, i, j, k]."""
        output: Tensor = self.network(fields)
        return output


def compressed(suv: Tensor) -> Tensor:
    """Return sign · log(1 + |SUV|), which is defined for negative values as well."""
    return suv.sign() * suv.abs().log1p()
