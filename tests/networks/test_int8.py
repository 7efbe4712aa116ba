"""Convolutions in 8-bit integers, against the same arithmetic in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from petdiff.networks.int8 import ChannelRanges, Int8Convolution
from petdiff.networks.slabwise import SlabwiseUNet
from petdiff.networks.unet import Block, UNet, UNetArchitecture

pytestmark = pytest.mark.skipif(not torch._C._has_mkldnn, reason="this PyTorch has no oneDNN")


def ranges_of(x: Tensor) -> ChannelRanges:
    least, most = x[0].flatten(1).aminmax(dim=1)
    return ChannelRanges(least=tuple(least.tolist()), most=tuple(most.tolist()))


@pytest.fixture
def layer() -> nn.Conv3d:
    torch.manual_seed(0)
    made = nn.Conv3d(5, 7, 3, padding=1).requires_grad_(False)
    made.weight *= torch.linspace(0.1, 3, 7).view(-1, 1, 1, 1, 1)
    return made


def activations(*, after_silu: bool) -> Tensor:
    x = torch.randn(1, 5, 6, 9, 8, generator=torch.Generator().manual_seed(1))
    x *= torch.tensor([0.01, 1, 3, 20, 100]).view(1, 5, 1, 1, 1)
    return F.silu(x) if after_silu else x


@pytest.mark.parametrize("after_silu", [False, True])
def test_it_is_the_convolution_of_rounded_numbers(layer: nn.Conv3d, after_silu: bool) -> None:
    x = activations(after_silu=after_silu)
    convolve = Int8Convolution(layer, ranges_of(x), after_silu=after_silu)
    prepared = convolve.prepared(x)
    assert prepared.dtype == torch.uint8
    assert int(prepared.max()) <= 127  # two products of 127 · 127 fit 16 bits
    least, most = x[0].flatten(1).aminmax(dim=1)
    zero = convolve.zero
    if after_silu:
        scale = torch.maximum(most / (127 - zero), -least / zero)
    else:
        scale = torch.maximum(most, -least) / (zero - 1)
    scale = scale.view(1, -1, 1, 1, 1)
    rounded = (prepared.double() - zero) * scale
    assert ((rounded - x).abs() <= 0.51 * scale).all()
    step = (layer.weight * scale).abs().amax((1, 2, 3, 4), keepdim=True).double() / 127
    weight = (layer.weight * scale / step).round() * step / scale
    expected = F.conv3d(rounded, weight, layer.bias.double(), padding=(0, 1, 1))
    torch.testing.assert_close(convolve(prepared).double(), expected, rtol=1e-5, atol=1e-4)


def test_it_is_near_the_convolution(layer: nn.Conv3d) -> None:
    x = activations(after_silu=False)
    convolve = Int8Convolution(layer, ranges_of(x), after_silu=False)
    expected = F.conv3d(x, layer.weight, layer.bias, padding=(0, 1, 1))
    error = convolve(convolve.prepared(x)) - expected
    assert error.square().mean().sqrt() < 0.02 * expected.square().mean().sqrt()


def test_activations_beyond_their_range_are_limited_to_it(layer: nn.Conv3d) -> None:
    x = activations(after_silu=False)
    convolve = Int8Convolution(layer, ranges_of(x), after_silu=False)
    prepared = convolve.prepared(torch.cat([1000 * x, -1000 * x]))
    assert int(prepared.min()) == 0
    assert int(prepared.max()) == 127


def test_outside_a_volume_are_zeros(layer: nn.Conv3d) -> None:
    x = activations(after_silu=True)
    convolve = Int8Convolution(layer, ranges_of(x), after_silu=True)
    assert torch.equal(convolve.outside(x), convolve.prepared(torch.zeros_like(x)))


def awake() -> tuple[UNet, dict[str, ChannelRanges], Tensor, Tensor]:
    """Return a network, the ranges of its activations, a volume and its output."""
    net = UNet(UNetArchitecture(in_channels=2, out_channels=1, widths=(8, 16), blocks=(1, 1)))
    generator = torch.Generator().manual_seed(0)
    for parameter in net.requires_grad_(False).parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    ranges = {}
    for name, block in net.named_modules():
        if isinstance(block, Block):
            for end, layer in (("conv_in", block.conv_in), ("conv_out", block.conv_out)):
                layer.register_forward_pre_hook(
                    lambda _, given, key=f"{name}.{end}": ranges.update({key: ranges_of(given[0])})
                )
    x = torch.randn(1, 2, 48, 16, 8, generator=generator)
    return net, ranges, x, net(x, torch.tensor([0.3]))


def through(network: SlabwiseUNet, x: Tensor, cut: list[int]) -> Tensor:
    parts = [network(slab, last=n == len(cut) - 1) for n, slab in enumerate(x.split(cut, dim=2))]
    return torch.cat([part for part in parts if part is not None], dim=2)


@pytest.mark.parametrize("cut", [[48], [8] * 6, [2, 38, 8]])
def test_the_output_in_integers_is_close_to_that_in_floating_point(cut: list[int]) -> None:
    net, ranges, x, expected = awake()
    output = through(SlabwiseUNet(net, torch.tensor([0.3]), ranges), x, cut)
    error = (output - expected).square().mean().sqrt() / expected.std()
    assert 1e-4 < error < 0.05
