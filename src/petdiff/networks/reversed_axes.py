"""The default network for volumes whose axes are in the reverse order, [k, j, i] for [i, j, k].

Volumes in Fortran order (`volume/planes.py`) are stored as [k, j, i]. This network computes
in this order, and its output is the transposed output of the network.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from petdiff.networks.unet import UNet


def with_reversed_axes(network: UNet) -> UNet:
    """Return a network that maps x.transpose(-1, -3) to network(x).transpose(-1, -3).

    x is [b, c, i, j, k]. The weights are copies.
    """
    reverse = copy.deepcopy(network)
    with torch.no_grad():
        # The voxels of a cell are channels, of which i is the slowest (`unshuffle`).
        reverse.stem.weight.data = _transposed_cells(reverse.stem.weight, axis=1)
        reverse.head.weight.data = _transposed_cells(reverse.head.weight, axis=0)
        assert isinstance(reverse.head.bias, Tensor)
        reverse.head.bias.data = _transposed_cells(reverse.head.bias, axis=0)
        for layer in reverse.modules():
            if isinstance(layer, nn.Conv3d):
                weight = layer.weight.transpose(-1, -3)
                layer.weight.data = weight.contiguous(memory_format=torch.channels_last_3d)
    return reverse


def _transposed_cells(weight: Tensor, axis: int) -> Tensor:
    """Exchange i and k of the 2 × 2 × 2 voxels that are the channels along an axis."""
    cells = torch.arange(8).view(2, 2, 2).transpose(0, 2).flatten()
    channels = torch.arange(weight.shape[axis]).view(-1, 8)[:, cells].flatten()
    return weight.index_select(axis, channels.to(weight.device))
