"""logunet: a small U-Net on log(1 + SUV), asked once, trained by mean squared error.

After the second place of the 2025 ultra-low-dose PET challenge (public code, Apache-2.0:
KUL-recon-lab/2025_ud_pet_kul), the small regression net that others have to beat. What differs
from it is told in docs/explanation/methods.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from petdiff.methods.condition import BoundScan
from petdiff.methods.regression import Regressor, Windows
from petdiff.networks.plain_unet import PlainArchitecture, PlainUNet

if TYPE_CHECKING:
    from petdiff.methods.model import Contract

# Measured: parameters; FLOP per voxel.
PRESETS: dict[str, dict[str, Any]] = {
    # 97,497; 29 k
    "tiny": {"features": 8, "levels": 2},
    # 1,606,257; 133 k
    "default": {"features": 16, "levels": 3},
    # 1,606,257; 133 k
    "paper": {"features": 16, "levels": 3},
}


@dataclass(frozen=True)
class LogScan(BoundScan):
    """A scan as sign · log(1 + |SUV|), fields [1, i, j, k]."""

    fields: Tensor

    def decode(self, x: Tensor) -> Tensor:
        """The domain [i, j, k] → SUV."""
        return x.sign() * x.abs().expm1()


@dataclass
class LogUNet(Regressor):
    """A plain U-Net that answers the change of log(1 + SUV)."""

    network: PlainUNet
    name: ClassVar[str] = "logunet"

    @classmethod
    def create(cls, preset: str = "default") -> Self:
        """With fresh weights."""
        from petdiff.methods.model import preset_of

        return cls(PlainUNet(PlainArchitecture(**preset_of(cls.name, PRESETS, preset))))

    @classmethod
    def from_contract(cls, contract: Contract) -> Self:
        """As a weights file describes it, its weights still to be loaded."""
        from petdiff.methods.model import rebuilt

        architecture = rebuilt(PlainArchitecture, contract.architecture, cls.name)
        return cls(PlainUNet(architecture), rebuilt(Windows, contract.process, cls.name))

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
        return self.network.multiple

    def bind(
        self, y: Tensor, dtype: torch.dtype = torch.float32, dose: float | None = None
    ) -> LogScan:
        """The scan y [i, j, k] in SUV, made ready for `denoise`."""
        return LogScan(compressed(y)[None])

    def example(self, low: Tensor, full: Tensor, dose: float | None = None) -> Tensor:
        """A pair of scans [i, j, k] in SUV → what the loss sees of it [2, i, j, k]: full, low."""
        return compressed(torch.stack([full, low]))

    def change(self, fields: Tensor) -> Tensor:
        """As the base."""
        answer: Tensor = self.network(fields)
        return answer


def compressed(suv: Tensor) -> Tensor:
    """sign · log(1 + |SUV|): for what noise makes negative as well."""
    return suv.sign() * suv.abs().log1p()
