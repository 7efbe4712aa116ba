"""Resample volumes to other voxel sizes on the device that holds them, without loss of activity.

Separable cubic convolution (Keys 1981, a = -1/2). If the grid becomes coarser by a factor r, the
interpolated scan is averaged over √(r² - 1) old voxels, the additional blur of the larger voxel.
Too fine detail is then averaged, not aliased. Each axis is one product with a small matrix.
Constants and ramps are reproduced exactly.

Resampling to the model's voxels and back loses detail (up to a tenth of a 6 mm spot's peak along
one axis). To avoid this loss, resample only the change y → D(y) back to the scan's grid: scan +
back(D(y) − y), where y is the scan on the grid of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petdiff.image import spacing_of
from petdiff.volume.regions import Affine

_BAND = 32  # rows of a matrix applied at a time


def resample(volume: Tensor, affine: Affine, spacing_mm: Sequence[float]) -> tuple[Tensor, Affine]:
    """Return a volume [..., i, j, k] resampled to voxels of `spacing_mm`, and its affine.

    The new grid has the axes and the centre of the old one and covers all of its voxels. If it is
    coarser, values are averaged.
    """
    i, j, k = volume.shape[-3:]
    shape, target = regrid((i, j, k), affine, spacing_mm)
    return resample_like(volume, affine, target, shape, antialias=True), target


def resample_like(
    volume: Tensor,
    affine: Affine,
    target: Affine,
    shape: Sequence[int],
    *,
    antialias: bool = False,
) -> Tensor:
    """Return a volume [..., i, j, k] on the grid of `target` affine and `shape`, in its own dtype.

    Both grids must have parallel axes, otherwise ValueError. Beyond the edge the edge voxel is
    repeated. Values are interpolated at points, which restores a volume that `resample` refined.
    `antialias` averages where the target is coarser.
    """
    step, start = _between(affine, target)
    # The axes that shrink most first: the others then have less data.
    for axis in sorted(range(3), key=lambda a: shape[a] / volume.shape[a - 3]):
        n = volume.shape[axis - 3]
        if shape[axis] == n and np.allclose((step[axis], start[axis]), (1, 0), atol=1e-6):
            continue
        width = float(np.sqrt(max(step[axis] ** 2 - 1, 0.0))) if antialias else 0.0
        weights = interpolation_matrix(n, shape[axis], step[axis], start[axis], width)
        volume = _along(volume, torch.from_numpy(weights).to(volume), axis)
    return volume


def regrid(
    shape: Sequence[int], affine: Affine, spacing_mm: Sequence[float]
) -> tuple[tuple[int, int, int], Affine]:
    """Return shape and affine of the grid with voxels of `spacing_mm` that covers the given one."""
    ratio = np.asarray(spacing_mm, dtype=np.float64) / spacing_of(affine)
    # A grid that is too short by a thousandth of a voxel need not grow by a whole one.
    i, j, k = (max(int(np.ceil(n / r - 1e-3)), 1) for n, r in zip(shape, ratio, strict=True))
    target = affine.copy()
    target[:3, :3] = affine[:3, :3] * ratio
    old_centre = (np.asarray(shape) - 1) / 2
    new_centre = (np.asarray((i, j, k)) - 1) / 2
    target[:3, 3] += affine[:3, :3] @ old_centre - target[:3, :3] @ new_centre
    return (i, j, k), target


def interpolation_matrix(
    n: int, n_new: int, step: float, start: float, width: float = 0.0
) -> NDArray[np.float64]:
    """Return weights [n_new, n] to interpolate at start, start + step, …; rows sum to 1.

    `start`, `step` and `width` are in voxels. Each value is averaged over an interval of length
    `width`; 0 interpolates at a point.
    """
    at = start + step * np.arange(n_new)
    reach = int(np.ceil(2 + width / 2))
    taps = np.floor(at).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
    away = taps - at[:, None]
    if width > 0:
        weights = (cubic_integral(away + width / 2) - cubic_integral(away - width / 2)) / width
    else:
        weights = cubic(away)
    matrix = np.zeros((n_new, n))
    np.add.at(matrix, (np.arange(n_new)[:, None], taps.clip(0, n - 1)), weights)
    return matrix


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cubic convolution kernel at x: Keys 1981, eq. 15 (a = -1/2); zero from |x| = 2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.asarray(np.where(x < 1, near, np.where(x < 2, far, 0.0)))


def cubic_integral(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the integral of `cubic` from 0 to x; it is ±1/2 from |x| = 2."""
    sign, x = np.sign(x), np.minimum(np.abs(x), 2.0)
    near = ((0.375 * x - 2.5 / 3) * x**2 + 1) * x
    far = (((-0.125 * x + 2.5 / 3) * x - 2) * x + 2) * x - 1 / 6
    return np.asarray(sign * np.where(x < 1, near, far))


def _between(affine: Affine, target: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return step and start of the target's voxels along each axis, in voxels of the source."""
    change = np.linalg.solve(affine, target).astype(np.float64)
    step = np.diag(change)[:3]
    if not np.allclose(change[:3, :3], np.diag(step), atol=1e-4) or (step <= 0).any():
        raise ValueError("the two grids must have parallel axes, in the same order and direction")
    return step, change[:3, 3]


def _along(volume: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Return the volume with weights [n_new, n] applied along one of its last three axes.

    The product is computed in bands of rows, because most weights are zero.
    """
    shape = list(volume.shape)
    shape[axis - 3] = len(weights)
    result = volume.new_empty(shape)
    for first in range(0, len(weights), _BAND):
        rows = weights[first : first + _BAND]
        used = rows.any(dim=0).nonzero()
        low, high = int(used[0]), int(used[-1]) + 1
        source = volume.narrow(axis - 3, low, high - low)
        band = _product(rows[:, low:high], source, axis)
        result.narrow(axis - 3, first, len(rows)).copy_(band)
    return result


def _product(rows: Tensor, source: Tensor, axis: int) -> Tensor:
    *batch, _, j, k = source.shape
    if axis == 2:
        return source @ rows.T
    if axis == 1:
        return rows @ source
    return (rows @ source.flatten(-2)).reshape(*batch, len(rows), j, k)
