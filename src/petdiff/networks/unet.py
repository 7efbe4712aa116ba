"""The default network: a small U-Net with no layer that looks at a whole tile.

Nothing here takes a statistic over space (no GroupNorm, attention or pooling to a point), so an
output voxel depends only on the inputs within `radius`, and tiles that carry that much halo leave no
trace. The volume enters by pixel-unshuffle, so that the first and dearest level runs at half
resolution. Shape legend: b batch, c channels, and one letter for each axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EMBEDDING_OCTAVES = 6


class UNet(nn.Module):
    """U-Net over `dims` axes with per-voxel channel normalisation and FiLM from a noise level.

    in_channels, out_channels  of the full-resolution volume
    widths                     channels at 1/2, 1/4, 1/8 … of the resolution
    blocks                     residual blocks at each level, on the way down and again on the way up
    dims                       3 for volumes, 2 for slices
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (48, 96, 128),
        blocks: Sequence[int] = (1, 1, 2),
        dims: int = 3,
        embedding: int = 128,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks):
            raise ValueError(f"one number of blocks per level: {widths} against {blocks}")
        self.dims = dims
        self.blocks = tuple(blocks)
        cells = 2**dims
        conv = _conv(dims)
        self.embed = nn.Sequential(
            nn.Linear(2 * _EMBEDDING_OCTAVES + 1, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
        )
        self.stem = conv(in_channels * cells, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            _stage(w, n, embedding, dims) for w, n in zip(widths, blocks)
        )
        self.downs = nn.ModuleList(
            conv(fine, coarse, 2, stride=2) for fine, coarse in zip(widths, widths[1:])
        )
        self.ups = nn.ModuleList(conv(coarse, fine, 1) for fine, coarse in zip(widths, widths[1:]))
        self.up_blocks = nn.ModuleList(
            _stage(w, n, embedding, dims) for w, n in zip(widths[:-1], blocks[:-1])
        )
        self.head = conv(widths[0], out_channels * cells, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def multiple(self) -> int:
        """Every axis of the input must be a multiple of this many voxels."""
        return 2 ** len(self.blocks)

    @property
    def radius(self) -> int:
        """How many voxels away, along an axis, an input can still matter; a multiple of `multiple`."""
        *upper, bottom = (2 * n * 2 ** (level + 1) for level, n in enumerate(self.blocks))
        reach = 2 * 2 + 2 * sum(upper) + bottom  # stem and head, the levels twice, the bottom once
        return -(-reach // self.multiple) * self.multiple

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """[b, in_channels, *axes] and a noise level t in [0, 1] of shape [b] → [b, out_channels, *axes]."""
        emb = self.embed(_fourier(t).to(x.dtype))
        x = self.stem(unshuffle(x))
        skips = []
        for level, stage in enumerate(self.down_blocks):
            for block in stage:
                x = block(x, emb)
            if level < len(self.downs):
                skips.append(x)
                x = self.downs[level](x)
        for up, stage, skip in zip(reversed(self.ups), reversed(self.up_blocks), reversed(skips)):
            x = skip + F.interpolate(up(x), scale_factor=2.0, mode="nearest")
            for block in stage:
                x = block(x, emb)
        return shuffle(self.head(x), self.dims)


class Block(nn.Module):
    """x + conv(silu(FiLM(norm(conv(x))))), the norm over the channels of each voxel alone."""

    def __init__(self, width: int, embedding: int, dims: int) -> None:
        super().__init__()
        conv = _conv(dims)
        self.conv_in = conv(width, width, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * width)
        self.conv_out = conv(width, width, 3, padding=1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb).chunk(2, dim=1)
        h = channel_norm(self.conv_in(x), 1 + scale, shift)
        return x + self.conv_out(F.silu(h, inplace=True))


def channel_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer norm over the channels of every voxel, then `scale` and `shift`, both [b, c]."""
    last = x.movedim(1, -1)
    width = last.shape[-1:]
    if len(x) == 1:  # one kernel for norm and FiLM
        out = F.layer_norm(last, width, scale[0], shift[0])
    else:
        per_sample = (len(x), *[1] * (x.ndim - 2), width[0])
        out = F.layer_norm(last, width) * scale.view(per_sample) + shift.view(per_sample)
    return out.movedim(-1, 1)


def unshuffle(x: Tensor) -> Tensor:
    """[b, c, *axes] → [b, c·2^d, *axes/2]: each 2^d cell of voxels becomes channels (channels last)."""
    b, c, *axes = x.shape
    d = len(axes)
    x = x.reshape(b, c, *(n for axis in axes for n in (axis // 2, 2)))
    coarse = range(2, 2 + 2 * d, 2)
    x = x.permute(0, *coarse, 1, *(axis + 1 for axis in coarse))
    return x.reshape(b, *(axis // 2 for axis in axes), c * 2**d).movedim(-1, 1)


def shuffle(x: Tensor, dims: int) -> Tensor:
    """The inverse of `unshuffle`: [b, c·2^d, *axes/2] → [b, c, *axes]."""
    x = x.movedim(1, -1)
    b, *axes, c = x.shape
    x = x.reshape(b, *axes, c // 2**dims, *[2] * dims)
    pairs = (n for axis in range(dims) for n in (1 + axis, 2 + dims + axis))
    return x.permute(0, 1 + dims, *pairs).reshape(b, c // 2**dims, *(2 * n for n in axes))


def _fourier(t: Tensor) -> Tensor:
    octaves = torch.pi * t[:, None] * 2.0 ** torch.arange(_EMBEDDING_OCTAVES, device=t.device)
    return torch.cat([t[:, None], octaves.sin(), octaves.cos()], dim=1)


def _conv(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return {2: nn.Conv2d, 3: nn.Conv3d}[dims]


def _stage(width: int, blocks: int, embedding: int, dims: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, embedding, dims) for _ in range(blocks))
