"""A plain 3-D U-Net: two convolutions per level, each followed by GroupNorm and a ReLU.

Ronneberger et al. 2015 (arXiv 1505.04597), with strided convolutions on the way down and trilinear
interpolation on the way up. Shapes: b batch, c channels, then i, j, k.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

_CHANNELS_PER_GROUP = 4


class PlainArchitecture(BaseModel, frozen=True, extra="forbid"):
    """The architecture of a PlainUNet. Its bounds limit the memory that a file can request.

    features  channels at full resolution; doubled at each level below
    levels    number of levels with a skip connection; one more lies below them
    """

    features: int = Field(
        ge=_CHANNELS_PER_GROUP, le=256, multiple_of=_CHANNELS_PER_GROUP, default=16
    )
    levels: int = Field(ge=1, le=6, default=3)


class PlainUNet(nn.Module):
    """Maps [b, 1, i, j, k] to the same shape; returns 0 before training.

    The axes must be multiples of `multiple`.
    """

    def __init__(self, architecture: PlainArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        features = architecture.features
        widths = [features << level for level in range(architecture.levels + 1)]
        self.encoder = nn.ModuleList(_double(c_in, c_out) for c_in, c_out in pairwise([1, *widths]))
        self.downs = nn.ModuleList(nn.Conv3d(c, c, 3, stride=2, padding=1) for c in widths[:-1])
        self.decoder = nn.ModuleList(
            _double(fine + coarse, fine) for fine, coarse in pairwise(widths)
        )
        self.head = nn.Conv3d(features, 1, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    @property
    def multiple(self) -> int:
        """Return the number of voxels that every axis of the input must be a multiple of."""
        return 1 << self.architecture.levels

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage, down in zip(self.encoder, self.downs, strict=False):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.encoder[-1](x)
        for stage, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            up = F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
            x = stage(torch.cat([skip, up], dim=1))
        output: Tensor = self.head(x)
        return output


def _double(c_in: int, c_out: int) -> nn.Module:
    layers: list[nn.Module] = []
    for c in (c_in, c_out):
        norm = nn.GroupNorm(c_out // _CHANNELS_PER_GROUP, c_out)
        layers += [nn.Conv3d(c, c_out, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers)
