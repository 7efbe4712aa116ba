"""What methods share that are asked once: the network answers the change of the measured scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.samplers import Callback
from petdiff.errors import UsageError
from petdiff.methods.patches import OVERLAP, PATCH, Voxels, own_voxel_mm

if TYPE_CHECKING:
    from petdiff.methods.objective import Objective


class Windows(BaseModel):
    """How a whole scan is cut: voxels that the network sees at once, and that are blended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: tuple[Voxels, Voxels, Voxels] = PATCH
    overlap: int = Field(ge=0, le=1024, default=OVERLAP)


@dataclass
class Regressor:
    """x0 = y + network(y), in the domain that `bind` makes; trained by mean squared error."""

    network: nn.Module
    windows: Windows = field(default_factory=Windows)
    name: ClassVar[str]
    patch: ClassVar[tuple[int, int, int]] = PATCH
    axes: ClassVar[str] = "RAS"
    precision: ClassVar[str] = "auto"
    default_steps: ClassVar[int] = 1
    sampling_steps: ClassVar[int] = 1
    can_be_told_dose: ClassVar[bool] = False
    needs_suv: ClassVar[bool] = True
    halo: ClassVar[None] = None

    @property
    def window(self) -> tuple[int, int, int]:
        """Voxels that the network sees at once."""
        return self.windows.window

    @property
    def overlap(self) -> tuple[int, int, int]:
        """Voxels over which windows are blended, as no halo makes them exact."""
        return (self.windows.overlap,) * 3

    def working_voxel_mm(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """The scan's own voxels, within the range of training."""
        return own_voxel_mm(voxel_mm)

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """x0 [b, 1, i, j, k] of single windows; x and sigma are not looked at."""
        return self.answer(fields)

    def answer(self, fields: Tensor) -> Tensor:
        """x0 [b, 1, i, j, k] of single windows, whose axes are multiples of `multiple`.

        However coarse the network's arithmetic, the scan itself keeps its own.
        """
        precision = next(self.network.parameters()).dtype
        return fields + self.change(fields.to(precision)).float()

    def change(self, fields: Tensor) -> Tensor:
        """The network's answer [b, 1, i, j, k]."""
        raise NotImplementedError

    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """As `answer`; see WindowedMethod."""
        return self.answer(fields)

    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
        """`network`, which answers for a volume of any size, as a denoiser."""
        return lambda x, sigma: network(x, sigma.expand(len(x)))

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """The one answer."""
        if steps != 1:
            raise UsageError(
                f"`steps` is {steps}, but {self.name} answers in one step: leave it out"
            )
        sigma = torch.tensor(torch.inf)
        x0 = denoiser(noise, sigma)
        if callback is not None:
            callback(x=noise, i=0, sigma=sigma, denoised=x0)
        return x0

    @property
    def trained(self) -> nn.Module:
        """All that training changes."""
        return self.network

    def objectives(self) -> list[Objective]:
        """The one loss."""
        from petdiff.methods.objective import Objective

        return [Objective(self.name, list(self.network.parameters()), self.loss)]

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error over examples [b, 2, i, j, k], the full and the low-dose scan."""
        full, low = batch.chunk(2, dim=1)
        error: Tensor = self.answer(low) - full
        return error.square().mean()
