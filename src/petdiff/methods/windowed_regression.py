"""Regressions with statistics over the network's whole input: x0 = y + network(y), in windows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.methods.base import WindowedMethod
from petdiff.methods.mixins import OneCallSampler
from petdiff.methods.patches import OVERLAP, PATCH, VoxelRange, Voxels
from petdiff.volume.regions import Spacing


class Windows(BaseModel, frozen=True, extra="forbid"):
    """The windows in which a scan is denoised, and the voxel sizes.

    window   voxels along i, j, k of one input of the network
    overlap  voxels over which neighbouring windows are blended
    voxels   range of voxel sizes in training
    """

    window: tuple[Voxels, Voxels, Voxels] = PATCH
    overlap: int = Field(ge=0, le=1024, default=OVERLAP)
    voxels: VoxelRange = VoxelRange()


@dataclass
class WindowedRegression(OneCallSampler, WindowedMethod):
    """x0 = y + network(y), in the domain of `condition`; trained by mean squared error."""

    network: nn.Module
    constants: Windows

    @abstractmethod
    def change(self, fields: Tensor) -> Tensor:
        """Return the network's output [b, 1, i, j, k]."""

    @property
    def window(self) -> tuple[int, int, int]:
        """Voxels of one input of the network."""
        return self.constants.window

    @property
    def overlap(self) -> tuple[int, int, int]:
        """Voxels over which neighbouring windows are blended."""
        return (self.constants.overlap,) * 3

    def working_voxel_mm(self, voxel_mm: Spacing) -> Spacing:
        """Return the voxel size of the scan, limited to the range of training."""
        return self.constants.voxels.nearest(voxel_mm)

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return x0 [b, 1, i, j, k] of single windows; x and sigma are not used."""
        return self.estimate(fields)

    def estimate(self, fields: Tensor) -> Tensor:
        """Return x0 [b, 1, i, j, k] of single windows, whose axes are multiples of `multiple`.

        Only the change is computed in the precision of the network. The scan is not rounded.
        """
        precision = next(self.network.parameters()).dtype
        return fields + self.change(fields.to(precision)).float()

    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """Return `estimate`; see WindowedMethod."""
        return self.estimate(fields)

    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
        """Return the denoiser of a function (x_t, timestep) → raw output for any volume."""
        return lambda x, sigma: network(x, sigma.expand(len(x)))

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error over examples [b, 2, i, j, k], full and low-dose scan."""
        full, low = batch.chunk(2, dim=1)
        error: Tensor = self.estimate(low) - full
        return error.square().mean()
