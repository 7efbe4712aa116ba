"""A UNet over a volume that arrives slab by slab along its first axis.

Each activation is computed once: a layer keeps the few planes that it needs again with the next
slab. The answer is that of the whole volume, because the network takes no statistics over space.
Memory grows with a slab and with the delay between input and answer, not with the volume's length.
Tensors are [1, c, planes, j, i].
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from petdiff.networks.int8 import Int8Convolution, Ranges
from petdiff.networks.unet import Block, UNet, shuffle, unshuffle


class SlabwiseNetwork(Protocol):
    """Takes a volume slab by slab, and answers for the next planes; None: not yet for any."""

    def __call__(self, slab: Tensor, *, last: bool) -> Tensor | None: ...


class SlabwiseUNet:
    """A three-dimensional UNet with what it must remember between the slabs of one volume.

    network  with weights in the dtype of the slabs
    t        noise level [1] of the volume
    ranges   of the activations of the blocks, whose convolutions are then of 8-bit integers
    """

    def __init__(self, network: UNet, t: Tensor, ranges: Ranges | None = None) -> None:
        weights = network.head.weight
        emb = network.embedding(t, weights.dtype)
        self._stem, self._head = (
            _Convolution(_FloatConvolution(layer)) for layer in (network.stem, network.head)
        )
        self._down_blocks, self._up_blocks = (
            [
                [_Block(block, emb, ranges, f"{side}.{level}.{n}") for n, block in enumerate(stage)]
                for level, stage in enumerate(getattr(network, side))
            ]
            for side in ("down_blocks", "up_blocks")
        )
        self._downs = [_Halving(down) for down in network.downs]
        self._ups = list(network.ups)
        self._skips = [_Delay() for _ in network.downs]

    def __call__(self, slab: Tensor, *, last: bool) -> Tensor | None:
        """Return the answer for the next planes, which lie behind those of the slab.

        slab  the next planes of the input, a multiple of 2
        last  whether they are the last; the answer then reaches the volume's end

        Returns None where the first slabs are too thin for any answer.
        """
        x = self._stem(unshuffle(slab), last)
        for stage, skip, down in zip(self._down_blocks, self._skips, self._downs, strict=False):
            x = _through(stage, x, last)
            if x is None:
                return None
            skip.put(x)
            x = down(x)
        x = _through(self._down_blocks[-1], x, last)
        for level in reversed(range(len(self._ups))):
            if x is None:
                return None
            x = _convolved(x, self._ups[level], padding=(0, 0, 0))
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            self._skips[level].add_to(x)
            x = _through(self._up_blocks[level], x, last)
        x = None if x is None else self._head(x, last)
        return None if x is None else shuffle(x, 3)


class _FloatConvolution:
    """A convolution with stride 1 in the dtype of its weights; as `Int8Convolution`."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def prepared(self, x: Tensor) -> Tensor:
        return x

    def outside(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def __call__(self, prepared: Tensor) -> Tensor:
        return _convolved(prepared, self.layer, padding=(0, 1, 1))


class _Convolution:
    """A convolution over three planes, zeros outside; it is one plane behind until the last."""

    def __init__(self, convolve: _FloatConvolution | Int8Convolution) -> None:
        self.convolve = convolve
        self._seen: Tensor | None = None

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        x = self.convolve.prepared(x)
        outside = self.convolve.outside(x[:, :, :1])
        seen = outside if self._seen is None else self._seen
        x = torch.cat([seen, x, outside] if last else [seen, x], dim=2)
        self._seen = _kept(x[:, :, -2:])
        return None if x.shape[2] < 3 else self.convolve(x)


class _Block:
    """A residual block; it is two planes behind until the last."""

    def __init__(self, block: Block, emb: Tensor, ranges: Ranges | None, name: str) -> None:
        self.block, self.emb = block, emb
        self._conv_in, self._conv_out = (
            _Convolution(
                _FloatConvolution(layer)
                if ranges is None
                else Int8Convolution(layer, ranges[f"{name}.{end}"], after_silu=end == "conv_out")
            )
            for end, layer in (("conv_in", block.conv_in), ("conv_out", block.conv_out))
        )
        self._input = _Delay()

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        self._input.put(x)
        h = self._conv_in(x, last)
        if h is None:
            return None
        out = self._conv_out(self.block.activated(h, self.emb), last)
        if out is not None:
            self._input.add_to(out)
        return out


class _Halving:
    """A convolution of 2 × 2 × 2 cells with stride 2; an odd plane waits for its neighbour."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self._odd: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor | None:
        if self._odd is not None:
            x = torch.cat([self._odd, x], dim=2)
        even = x.shape[2] // 2 * 2
        self._odd = _kept(x[:, :, even:]) if even < x.shape[2] else None
        if even == 0:
            return None
        return _convolved(x[:, :, :even], self.layer, padding=(0, 0, 0))


class _Delay:
    """Planes that wait until what is computed from them is ready to be added to them."""

    def __init__(self) -> None:
        self._waiting: deque[Tensor] = deque()

    def put(self, planes: Tensor) -> None:
        self._waiting.append(planes)

    def add_to(self, out: Tensor) -> None:
        """Add as many planes as `out` has, in place, in the order in which they were put."""
        done = 0
        while done < out.shape[2]:
            planes = self._waiting.popleft()
            n = min(planes.shape[2], out.shape[2] - done)
            out[:, :, done : done + n] += planes[:, :, :n]
            if n < planes.shape[2]:
                self._waiting.appendleft(planes[:, :, n:])
            done += n


def _through(blocks: list[_Block], x: Tensor | None, last: bool) -> Tensor | None:
    for block in blocks:
        if x is None:
            return None
        x = block(x, last)
    return x


def _convolved(x: Tensor, layer: nn.Module, padding: tuple[int, int, int]) -> Tensor:
    """Return what a convolution makes of x, padded by zeros.

    In float32 on a CPU oneDNN is called by its name, as torch takes a slower way for few planes.
    """
    assert isinstance(layer, nn.Conv3d)
    on_cpu = x.device.type == "cpu" and torch._C._has_mkldnn
    if x.dtype == torch.float32 and on_cpu:
        out: Tensor = torch.ops.aten.mkldnn_convolution(
            x, layer.weight, layer.bias, padding, layer.stride, (1, 1, 1), 1
        )
        return out
    return F.conv3d(x, layer.weight, layer.bias, layer.stride, padding)


def _kept(planes: Tensor) -> Tensor:
    """Return a copy, which does not hold on to the slab that the planes are part of."""
    return planes.contiguous(memory_format=torch.channels_last_3d)
