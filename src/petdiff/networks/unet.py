"""The default network: a small U-Net without statistics over space.

It has no GroupNorm, attention or global pooling. A volume can therefore be processed slab by slab,
with the result of the whole volume (`slabwise.py`). The first layer is a pixel-unshuffle, so that
the first and most expensive level runs at half resolution. Shapes: b batch, c channels, then the
axes.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

_EMBEDDING_OCTAVES = 6
_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}

Channels = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=1, le=2048)]
Blocks = Annotated[int, Field(ge=1, le=16)]


class UNetArchitecture(BaseModel, frozen=True, extra="forbid"):
    """The architecture of a UNet. Its bounds limit the memory that a file can request.

    in_channels, out_channels  of the full-resolution volume
    widths                     channels at 1/2, 1/4, 1/8 … of the resolution
    blocks                     residual blocks per level, on the way down and on the way up
    dims                       3 for volumes, 2 for slices
    embedding                  width of the noise level's embedding
    """

    in_channels: Channels
    out_channels: Channels
    widths: tuple[Width, ...] = Field(min_length=1, max_length=6, default=(48, 96, 128))
    blocks: tuple[Blocks, ...] = (1, 1, 2)
    dims: Literal[2, 3] = 3
    embedding: int = Field(ge=1, le=2048, default=128)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"one number of blocks per level: {self.widths} against {self.blocks}")
        return self


class UNet(nn.Module):
    """U-Net over `dims` axes with per-voxel channel normalisation and FiLM from a noise level."""

    def __init__(self, architecture: UNetArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths, blocks = architecture.widths, architecture.blocks
        dims, embedding = architecture.dims, architecture.embedding
        cells = 2**dims
        conv = _CONVOLUTIONS[dims]
        self.embed = nn.Sequential(
            nn.Linear(2 * _EMBEDDING_OCTAVES + 1, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
        )
        self.stem = conv(architecture.in_channels * cells, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            _Stage(width, n, embedding, dims) for width, n in zip(widths, blocks, strict=True)
        )
        self.downs = nn.ModuleList(
            conv(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.ups = nn.ModuleList(conv(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.up_blocks = nn.ModuleList(
            _Stage(width, n, embedding, dims)
            for width, n in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.head = conv(widths[0], architecture.out_channels * cells, 3, padding=1)
        _zero(self.head)

    @property
    def multiple(self) -> int:
        """Return the number of voxels that every axis of the input must be a multiple of."""
        return 1 << len(self.architecture.blocks)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return [b, out_channels, *axes] for x [b, in_channels, *axes] and noise levels t [b].

        t lies in 0 … 1.
        """
        emb = self.embedding(t, x.dtype)
        x = self.stem(unshuffle(x))
        skips = []
        for stage, down in zip(self.down_blocks, self.downs, strict=False):
            x = stage(x, emb)
            skips.append(x)
            x = down(x)
        x = self.down_blocks[-1](x, emb)
        for level in reversed(range(len(skips))):
            up = F.interpolate(self.ups[level](x), scale_factor=2.0, mode="nearest")
            x = self.up_blocks[level](skips[level] + up, emb)
        return shuffle(self.head(x), self.architecture.dims)

    def embedding(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the embedding [b, e] of noise levels t [b] in the network's dtype."""
        emb: Tensor = self.embed(_fourier(t).to(dtype))
        return emb


def flattened(network: UNet) -> UNet:
    """Return a 2-D network whose output for a slice is that of the 3-D one for equal slices.

    Its kernels are those of the 3-D network, summed along k.
    """
    flat = UNet(network.architecture.model_copy(update={"dims": 2}))
    weights = {
        name: weight.sum(-1) if weight.ndim == 5 else weight
        for name, weight in network.state_dict().items()
    }
    stem, head = weights["stem.weight"], weights["head.weight"]
    weights["stem.weight"] = stem.unflatten(1, (-1, 2)).sum(
        2
    )  # both planes of a cell have equal inputs
    weights["head.weight"] = head.unflatten(0, (-1, 2)).mean(1)  # and equal outputs
    weights["head.bias"] = weights["head.bias"].unflatten(0, (-1, 2)).mean(1)
    flat.load_state_dict(weights)
    return flat


class Block(nn.Module):
    """x + conv(silu(FiLM(norm(conv(x))))), where norm is over the channels of each voxel."""

    def __init__(self, width: int, embedding: int, dims: int) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[dims]
        self.conv_in = conv(width, width, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * width)
        self.conv_out = conv(width, width, 3, padding=1)
        _zero(self.film)
        _zero(self.conv_out)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        out: Tensor = x + self.conv_out(self.activated(self.conv_in(x), emb))
        return out

    def activated(self, h: Tensor, emb: Tensor) -> Tensor:
        """Return silu(FiLM(norm(h))), the operations between the block's two convolutions."""
        scale, shift = self.film(emb).chunk(2, dim=1)
        return F.silu(channel_norm(h, 1 + scale, shift), inplace=True)


class _Stage(nn.ModuleList):
    """The blocks of one level, in sequence."""

    def __init__(self, width: int, blocks: int, embedding: int, dims: int) -> None:
        super().__init__(Block(width, embedding, dims) for _ in range(blocks))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for block in self:
            x = block(x, emb)
        return x


def channel_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x normalised over the channels of each voxel, then FiLM: `scale`, `shift` [b, c]."""
    last = x.movedim(1, -1)
    width = last.shape[-1:]
    if len(x) == 1:  # one kernel for norm and FiLM
        out = F.layer_norm(last, width, scale[0], shift[0])
    else:
        per_sample = (len(x), *[1] * (x.ndim - 2), width[0])
        out = F.layer_norm(last, width) * scale.view(per_sample) + shift.view(per_sample)
    return out.movedim(-1, 1)


def unshuffle(x: Tensor) -> Tensor:
    """Return [b, c·2^d, *axes/2] for [b, c, *axes]: the voxels of a cell become channels.

    The result is stored with channels last.
    """
    b, c, *axes = x.shape
    d = len(axes)
    cells = x.new_empty(b, *(n // 2 for n in axes), c, 2**d)
    every = slice(None)
    for n, corner in enumerate(product((0, 1), repeat=d)):
        voxels = x[(every, every, *(slice(first, None, 2) for first in corner))]
        cells[..., n] = voxels.movedim(1, -1)
    return cells.flatten(-2).movedim(-1, 1)


def shuffle(x: Tensor, dims: int) -> Tensor:
    """Return [b, c, *axes] for [b, c·2^d, *axes/2]: the inverse of `unshuffle`."""
    x = x.movedim(1, -1)
    b, *axes, c = x.shape
    x = x.reshape(b, *axes, c // 2**dims, *[2] * dims)
    pairs = (n for axis in range(dims) for n in (1 + axis, 2 + dims + axis))
    return x.permute(0, 1 + dims, *pairs).reshape(b, c // 2**dims, *(2 * n for n in axes))


def _fourier(t: Tensor) -> Tensor:
    octaves = torch.pi * t[:, None] * 2.0 ** torch.arange(_EMBEDDING_OCTAVES, device=t.device)
    return torch.cat([t[:, None], octaves.sin(), octaves.cos()], dim=1)


def _zero(layer: nn.Module) -> None:
    """Set a layer's weights to zero, so that training starts from the network without it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
