"""A UNet over a volume that arrives slab by slab along its first axis.

Each activation is computed once: a layer stores the few planes that it needs again with the next
slab. The output is that of the whole volume, because the network has no statistics over space. The
memory depends on the thickness of a slab and on the delay between input and output, not on the
length of the volume.
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
    """Takes a volume slab by slab, and returns the output of the next planes, or None."""

    def __call__(self, slab: Tensor, *, last: bool) -> Tensor | None: ...


class SlabwiseUNet:
    """A 3-D UNet with the planes that it must store between the slabs of one volume.

    network  with weights in the dtype of the slabs
    t        noise level [1] of the volume
    ranges   ranges of the activations; if given, the blocks' convolutions use 8-bit integers
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
        """Return the output of the next planes, which are some planes behind those of the slab.

        slab  the next planes of the input, a multiple of 2
        last  whether the slab is the last; its output then includes the last plane of the volume

        Returns None if the slabs so far are too thin for any output.
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
    """A convolution with stride 1 in the dtype of its weights; interface of `Int8Convolution`."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def prepared(self, x: Tensor) -> Tensor:
        return x

    def outside(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def __call__(self, prepared: Tensor) -> Tensor:
        return _convolved(prepared, self.layer, padding=(0, 1, 1))


class _Convolution:
    """A convolution over three planes, padded by zeros. Its output is delayed by one plane."""

    def __init__(self, convolve: _FloatConvolution | Int8Convolution) -> None:
        self.convolve = convolve
        self._previous: Tensor | None = None

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        x = self.convolve.prepared(x)
        outside = self.convolve.outside(x[:, :, :1])
        before = outside if self._previous is None else self._previous
        x = torch.cat([before, x, outside] if last else [before, x], dim=2)
        self._previous = _copied(x[:, :, -2:])
        return None if x.shape[2] < 3 else self.convolve(x)


class _Block:
    """A residual block. Its output is delayed by two planes."""

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
    """A convolution of 2 × 2 × 2 cells with stride 2. An odd plane is stored for the next slab."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self._odd: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor | None:
        if self._odd is not None:
            x = torch.cat([self._odd, x], dim=2)
        even = x.shape[2] // 2 * 2
        self._odd = _copied(x[:, :, even:]) if even < x.shape[2] else None
        if even == 0:
            return None
        return _convolved(x[:, :, :even], self.layer, padding=(0, 0, 0))


class _Delay:
    """Planes of a skip connection, stored until they can be added to a delayed output."""

    def __init__(self) -> None:
        self._waiting: deque[Tensor] = deque()

    def put(self, planes: Tensor) -> None:
        self._waiting.append(planes)

    def add_to(self, out: Tensor) -> None:
        """Add the next planes to `out`, in place, in the order in which they were stored."""
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
    """Return the convolution of x, padded by zeros.

    In float32 on a CPU oneDNN is called explicitly, because torch uses a slower implementation for
    few planes.
    """
    assert isinstance(layer, nn.Conv3d)
    on_cpu = x.device.type == "cpu" and torch._C._has_mkldnn
    if x.dtype == torch.float32 and on_cpu:
        out: Tensor = torch.ops.aten.mkldnn_convolution(
            x, layer.weight, layer.bias, padding, layer.stride, (1, 1, 1), 1
        )
        return out
    return F.conv3d(x, layer.weight, layer.bias, layer.stride, padding)


def _copied(planes: Tensor) -> Tensor:
    """Return a copy, so that the memory of the slab is released.

    `contiguous` would return the planes themselves: with channels last, they are contiguous.
    """
    return planes.clone(memory_format=torch.channels_last_3d)
