"""The small net on log(1 + SUV): its domain, its size, its shape."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from petdiff.methods.logunet import LogUNet
from petdiff.networks.plain_unet import PlainArchitecture, PlainUNet


def parameters_by_hand(features: int, levels: int) -> int:
    """Kernel × in × out and a bias for each convolution, two numbers a channel for each norm."""

    def double(c_in: int, c: int) -> int:
        return 27 * c_in * c + c + 27 * c * c + c + 2 * 2 * c

    widths = [features * 2**level for level in range(levels + 1)]
    encoder = sum(double(a, b) for a, b in zip([1, *widths], widths, strict=False))
    downs = sum(27 * c * c + c for c in widths[:-1])
    decoder = sum(double(a + b, a) for a, b in pairwise(widths))
    return encoder + downs + decoder + features + 1


@pytest.mark.parametrize(("features", "levels"), [(16, 3), (8, 2)])
def test_number_of_parameters(features: int, levels: int) -> None:
    network = PlainUNet(PlainArchitecture(features=features, levels=levels))
    assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(features, levels)


def test_paper_is_the_size_that_is_published() -> None:
    assert LogUNet.create("paper").network.architecture == PlainArchitecture(features=16, levels=3)


def test_the_domain_is_the_logarithm_and_restores_negative_and_hot_voxels() -> None:
    y = torch.tensor([-2.0, 0.0, 1.0, 100.0]).view(4, 1, 1)
    bound = LogUNet.create("tiny").condition(y)
    expected = [-math.log(3), 0.0, math.log(2), math.log(101)]
    assert bound.fields.flatten().tolist() == pytest.approx(expected)
    torch.testing.assert_close(bound.decode(bound.fields[0]), y)
