"""The default network for volumes whose axes are in the reverse order, [k, j, i] for [i, j, k].

Stacked volumes (`volume/planes.py`) lie in memory as [k, j, i]. The turned network takes them as
they lie, and its answer is that of the network, turned.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from petdiff.networks.unet import UNet


def turned(network: UNet) -> UNet:
    """Return the network that answers x.transpose(-1, -3) with the network's answer to x, turned.

    x  [b, c, i, j, k]; the weights are copies
    """
    twin = copy.deepcopy(network)
    with torch.no_grad():
        # The voxels of a cell are channels, of which i is the slowest (`unshuffle`).
        twin.stem.weight.data = _turned_cells(twin.stem.weight, axis=1)
        twin.head.weight.data = _turned_cells(twin.head.weight, axis=0)
        assert isinstance(twin.head.bias, Tensor)
        twin.head.bias.data = _turned_cells(twin.head.bias, axis=0)
        for layer in twin.modules():
            if isinstance(layer, nn.Conv3d):
                weight = layer.weight.transpose(-1, -3)
                layer.weight.data = weight.contiguous(memory_format=torch.channels_last_3d)
    return twin


def _turned_cells(weight: Tensor, axis: int) -> Tensor:
    """Exchange i and k of the 2 × 2 × 2 voxels that are the channels along an axis."""
    cells = torch.arange(8).view(2, 2, 2).transpose(0, 2).flatten()
    channels = torch.arange(weight.shape[axis]).view(-1, 8)[:, cells].flatten()
    return weight.index_select(axis, channels.to(weight.device))
