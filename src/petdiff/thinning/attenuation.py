"""How much attenuation adds to the noise at each voxel, from the outline of the body alone.

The precision at which a voxel is measured is that of all lines through it. Of a line that crosses
a length L of tissue, the share exp(-µL) of the photon pairs is left. So the noise grows as the mean
of exp(-µL) over the lines, to the power -½.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate, zoom

from petdiff.volume.regions import Spacing, block_edges, block_sums, block_volumes

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

_WATER_PER_MM = 0.0096  # at 511 keV
_BLOCK_MM = 8.0
_DIRECTIONS = 12


def attenuation_noise(body: Mask, spacing_mm: Spacing) -> Volume:
    """Return by what factor attenuation raises the noise at each voxel [i, j, k]; 1 without any.

    The body is taken as water, and lines lie within slices, whose axis is k.
    """
    edges = block_edges(body.shape, spacing_mm, _BLOCK_MM)
    inside = block_sums(body.astype(np.float32), edges) / block_volumes(body.shape, edges)
    steps = [max(round(_BLOCK_MM / mm), 1) * mm for mm in spacing_mm[:2]]
    even = zoom(inside, (steps[0] / _BLOCK_MM, steps[1] / _BLOCK_MM, 1), order=1)
    left = _mean_left(even.astype(np.float32))
    factors = [n / m for n, m in zip(body.shape, left.shape, strict=True)]
    fine = zoom(left, factors, order=1, grid_mode=True, mode="nearest")
    return np.asarray(fine ** np.float32(-0.5), np.float32)


def _mean_left(inside: Volume) -> Volume:
    """Return the mean over directions of exp(-µL); `inside` has pixels of 8 mm."""
    i, j, _ = inside.shape
    side = int(np.ceil(np.hypot(i, j))) + 2
    first = (side - i) // 2, (side - j) // 2
    square = np.zeros((side, side, inside.shape[2]), np.float32)
    square[first[0] : first[0] + i, first[1] : first[1] + j] = inside
    total = np.zeros_like(square)
    for angle in np.arange(_DIRECTIONS) * 180 / _DIRECTIONS:
        turned = rotate(square, angle, axes=(0, 1), reshape=False, order=1)
        lengths_mm = turned.sum(axis=0, keepdims=True) * _BLOCK_MM
        left = np.broadcast_to(np.exp(-_WATER_PER_MM * lengths_mm), square.shape)
        total += rotate(left, -angle, axes=(0, 1), reshape=False, order=1, mode="nearest")
    return total[first[0] : first[0] + i, first[1] : first[1] + j] / np.float32(_DIRECTIONS)
