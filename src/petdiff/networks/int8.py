"""Convolutions in 8-bit integers on a CPU, about twice as fast as in floating point.

Activations are rounded to integers of 0 … 127 and weights to −127 … 127, for oneDNN's operators.
7 bits of an activation are enough here. Sums of two products then fit into 16 bits, as CPUs without
VNNI instructions require. The activations of each input channel have their own scale, by which its
weights are multiplied, and the weights of each output channel have their own scale. Shapes:
[1, c, planes, j, i], channels last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

_HIGHEST = 127
_SILU_SHARE = 0.08  # share of the integers for values below 0 after SiLU, which are ≥ −0.28

Values = Annotated[tuple[float, ...], Field(min_length=1, max_length=2048)]


class ChannelRanges(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """The smallest and the largest activation of each input channel of a convolution."""

    least: Values
    most: Values


Ranges = Mapping[str, ChannelRanges]  # by the name of the convolution in the network


class ActivationRanges(BaseModel, frozen=True, extra="forbid"):
    """The ranges of a model's activations, stored in a file beside its weights.

    weights_sha256  digest of the weights
    scans           description of the scans on which they were measured
    layers          by the name of the convolution in the network
    """

    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scans: str = Field(max_length=1000)
    layers: Mapping[str, ChannelRanges]


class Int8Convolution:
    """A convolution with stride 1 of 3-D volumes, its activations rounded to integers.

    layer      the convolution in floating point
    ranges     ranges to which its activations are limited
    after_silu whether the activations follow a SiLU, so that few are below 0
    """

    def __init__(self, layer: nn.Module, ranges: ChannelRanges, *, after_silu: bool) -> None:
        assert isinstance(layer, nn.Conv3d)
        least, most = (torch.tensor(values) for values in (ranges.least, ranges.most))
        if after_silu:
            self.zero = round(_SILU_SHARE * _HIGHEST)
            scale = torch.maximum(most / (_HIGHEST - self.zero), -least / self.zero)
        else:
            self.zero = (_HIGHEST + 1) // 2
            scale = torch.maximum(most, -least) / (self.zero - 1)
        scale = scale.clamp(min=1e-6).view(1, -1, 1, 1, 1)
        weight = layer.weight.detach().float() * scale
        self._of_weights = weight.abs().amax((1, 2, 3, 4)).clamp(min=1e-12) / _HIGHEST
        rounded = (weight / self._of_weights.view(-1, 1, 1, 1, 1)).round().to(torch.int8)
        self._packed = torch.ops.onednn.qconv_prepack(
            rounded, self._of_weights, 1.0, self.zero, [1, 1, 1], [0, 1, 1], [1, 1, 1], 1, None
        )
        self._no_zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = None if layer.bias is None else layer.bias.detach().float()
        self._dtype = layer.weight.dtype
        self._per_unit = 1 / scale
        self._half = torch.full(
            (1, 1, 1, 1, 1), self.zero + 0.5
        )  # conversion to integers truncates

    def prepared(self, x: Tensor) -> Tensor:
        """Return activations [1, c, planes, j, i] as integers."""
        levels = torch.addcmul(self._half, x, self._per_unit)
        return levels.clamp_(0, _HIGHEST + 0.5).to(torch.uint8)

    def outside(self, like: Tensor) -> Tensor:
        """Return prepared planes of zeros, of the shape of `like`."""
        return torch.full_like(like, self.zero)

    def __call__(self, prepared: Tensor) -> Tensor:
        """Return the convolution [1, c, planes − 2, j, i], in the dtype of the layer."""
        out: Tensor = torch.ops.onednn.qconv_pointwise(
            prepared, 1.0, self.zero, self._packed, self._of_weights, self._no_zeros, self._bias,
            [1, 1, 1], [0, 1, 1], [1, 1, 1], 1, 1.0, 0, self._dtype, "none", [], "",
        )  # fmt: skip
        return out
