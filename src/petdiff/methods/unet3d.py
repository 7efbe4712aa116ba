"""unet3d: the published DDPM's network as a regressor, asked once, trained by mean squared error.

It sees the measured scan alone, in the published domain, at timestep 0, and answers its change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from petdiff.methods.clipped_suv import ClippedScan, clipped, clipped_scan
from petdiff.methods.regression import Regressor, Windows
from petdiff.networks.published import Architecture, PublishedUNet

if TYPE_CHECKING:
    from petdiff.methods.model import Contract

# Measured: parameters; FLOP per voxel.
PRESETS: dict[str, dict[str, Any]] = {
    # 97,489; 71 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,390,577; 240 k
    "default": {"channels": 16, "residual_blocks": 1},
    # 206,957,697; 22.2 M
    "paper": {"channels": 128},
}


@dataclass
class UNet3D(Regressor):
    """The published network with one channel in and one out."""

    network: PublishedUNet
    name: ClassVar[str] = "unet3d"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS

    @classmethod
    def create(cls, preset: str = "default") -> Self:
        """With fresh weights."""
        from petdiff.methods.model import preset_of

        size = preset_of(cls.name, cls.presets, preset)
        return cls(PublishedUNet(Architecture.scaled(**size, in_channels=1, out_channels=1)))

    @classmethod
    def from_contract(cls, contract: Contract) -> Self:
        """As a weights file describes it, its weights still to be loaded."""
        from petdiff.methods.model import rebuilt

        architecture = rebuilt(Architecture, contract.architecture, cls.name)
        return cls(PublishedUNet(architecture), rebuilt(Windows, contract.process, cls.name))

    def contract(self, training: dict[str, Any]) -> Contract:
        """What travels with the weights."""
        from petdiff.methods.model import Contract

        return Contract(
            method=self.name,
            architecture=self.network.architecture.model_dump(),
            process=self.windows.model_dump(),
            training=training,
        )

    @property
    def multiple(self) -> int:
        """Axes of a window must be multiples of it."""
        return self.network.architecture.inner_multiple

    def bind(
        self, y: Tensor, dtype: torch.dtype = torch.float32, dose: float | None = None
    ) -> ClippedScan:
        """The scan y [i, j, k] in SUV, made ready for `denoise`."""
        return clipped_scan(y)

    def example(self, low: Tensor, full: Tensor, dose: float | None = None) -> Tensor:
        """A pair of scans [i, j, k] in SUV → what the loss sees of it [2, i, j, k]: full, low."""
        return clipped(torch.stack([full, low]))

    def change(self, fields: Tensor) -> Tensor:
        """As the base; the network's axes are axial first, as in ddpm3d."""
        timestep = torch.zeros(len(fields), device=fields.device)
        answer: Tensor = self.network(fields.transpose(2, 4), timestep).transpose(2, 4)
        return answer
