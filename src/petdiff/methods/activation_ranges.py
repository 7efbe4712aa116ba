"""The file with the ranges of a model's activations, for convolutions in 8-bit integers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar

from petdiff.errors import InputRefused, UsageError
from petdiff.methods.base import Method
from petdiff.methods.local_denoiser import LocalDenoiser
from petdiff.methods.model import Model
from petdiff.methods.weights_files import path_beside, read_beside, weights_path
from petdiff.networks.int8 import ActivationRanges, Ranges
from petdiff.networks.unet import Block, UNet

SUFFIX = ".int8.json"
M = TypeVar("M", bound=Method)


def ranges_path(weights: Path) -> Path:
    """Return the path of the ranges of a weights file, such as flow3d.int8.json."""
    return path_beside(weights, SUFFIX)


def load_ranges(model: Model) -> Ranges:
    """Return the ranges of a model's activations.

    Raises UsageError if there is no such file, InputRefused if it does not fit the model.
    """
    path = ranges_path(weights_path(model.name))
    if not path.is_file():
        raise UsageError(
            f"precision int8: {model.name} has no ranges of its activations ({path.name}); "
            "measure them with benchmarks/int8.py, or use another precision"
        )
    found = read_beside(path, ActivationRanges, "ranges of activations")
    widths = integer_layers(model.network)
    fits = found.layers.keys() == widths.keys() and all(
        len(layer.least) == len(layer.most) == widths[name] for name, layer in found.layers.items()
    )
    if found.weights_sha256 != model.sha256 or not fits:
        raise InputRefused(f"{path} is of other weights: measure them with benchmarks/int8.py")
    return found.layers


def integer_layers(network: object) -> dict[str, int]:
    """Return the number of input channels of each convolution that can use integers, by name.

    These are the convolutions in the blocks of a 3-D UNet, four fifths of its arithmetic.
    """
    if not isinstance(network, UNet) or network.architecture.dims != 3:
        return {}
    return {
        f"{name}.{end}": block.conv_in.in_channels
        for name, block in network.named_modules()
        if isinstance(block, Block)
        for end in ("conv_in", "conv_out")
    }


def with_int8(method: M, ranges: Ranges) -> M:
    """Return a copy of a method whose slabs are convolved in 8-bit integers."""
    assert isinstance(method, LocalDenoiser)
    changed = copy.copy(method)
    changed.ranges = ranges
    return changed
