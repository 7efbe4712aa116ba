"""Gaussian smoothing of PyTorch volumes, on the device that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petdiff.volume.planes import as_tensor, parts_of

Edge = Literal["reflect", "nearest"]

_TRUNCATED_AT = 4.0  # standard deviations
# On a CPU, planes along k and voxels of a line along j or i that are smoothed at once. Both are
# chosen so that the values fit its caches, with few products with zeros beyond the Gaussian.
_PLANES, _LINE_VOXELS = 16, 32


def gaussian_smooth(volume: Tensor, sigma: float) -> Tensor:
    """Return volumes [..., i, j, k] smoothed by a Gaussian of `sigma` voxels along all three axes.

    The volume is reflected at its faces (the edge voxel is repeated), as `mode="reflect"` of
    scipy.ndimage.gaussian_filter does. It is computed in the volume's own precision, also under
    autocast, because a sum over many voxels needs it.
    """
    if _in_ranges(volume):
        smooth = torch.empty_like(volume)
        for planes, part in smoothed_ranges(volume, sigma):
            smooth[..., planes] = part
        return smooth
    i, j, k = volume.shape[-3:]
    with torch.autocast(volume.device.type, enabled=False):
        volume = volume @ _smoothing_matrix(k, sigma, volume).T
        volume = _smoothing_matrix(j, sigma, volume) @ volume
        smooth = _smoothing_matrix(i, sigma, volume) @ volume.flatten(-2)
        return smooth.reshape(volume.shape)


def smoothed_ranges(volume: Tensor, sigma: float) -> Iterator[tuple[slice, Tensor]]:
    """Yield ranges of planes along k with the result of `gaussian_smooth` for them.

    This needs no memory of the size of the volume: a result is overwritten by the next. It is
    fastest for volumes in Fortran order. Several volumes, and those that require a gradient,
    are smoothed as a single range.
    """
    everything = slice(0, volume.shape[-1])
    if not _in_ranges(volume):
        yield everything, gaussian_smooth(volume, sigma)
        return
    yield from PlaneGaussian(volume, [sigma] * 3).ranges(volume)


def smoothed_array(volume: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """Return what `plane_ranges.smoothed` returns, several times as fast.

    Rounding differs. Use it where PyTorch is needed anyway: to import it takes longer than to
    smooth a small volume.
    """
    if volume.flags.c_contiguous:  # then its axes reversed are in Fortran order
        return smoothed_array(volume.T, sigma[::-1]).T
    source = as_tensor(np.asfortranarray(volume))  # PyTorch has no reversed axes
    smooth = torch.empty_like(source)
    for planes, part in PlaneGaussian(source, sigma, "nearest").ranges(source):
        smooth[..., planes] = part
    return np.asarray(smooth.numpy())


class PlaneGaussian:
    """A Gaussian for volumes like one [i, j, k], a few planes along k at a time.

    It multiplies with the bands of the three smoothing matrices that are not zero.

    sigma  standard deviation along each axis, in voxels
    edge   how the volume goes on beyond its faces: reflected, or as its outermost voxel
    reach  number of planes on either side that affect a plane
    most   largest number of planes at once
    """

    def __init__(self, like: Tensor, sigma: Sequence[float], edge: Edge = "reflect") -> None:
        i, j, self.length = like.shape
        self._reaches = [_reach(along) for along in sigma]
        self.reach = self._reaches[2]
        self._along_i, self._along_j, self._along_k = (
            _smoothing_matrix(n, along, like, edge)
            for n, along in zip(like.shape, sigma, strict=True)
        )
        on_cpu = like.device.type == "cpu"
        self.most = min(_PLANES, self.length) if on_cpu else self.length
        self._line_voxels = _LINE_VOXELS if on_cpu else max(i, j)
        self._two, self._three = (like.new_empty(self.most, j, i) for _ in range(2))

    def ranges(self, volume: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield ranges of planes with the smoothed volume there; the next overwrites the last."""
        for planes in parts_of(slice(0, self.length), self.most):
            yield planes, self(volume[..., self.reads(planes)], planes)

    def reads(self, planes: slice) -> slice:
        """Return the planes of the volume that affect some planes of the result."""
        return _within(planes, self.reach, self.length)

    def __call__(self, read: Tensor, planes: slice) -> Tensor:
        """Return at most `most` planes of the smoothed volume, in memory that the next call reuses.

        read  the volume's planes `reads(planes)`
        """
        volume = read.transpose(-1, -3)  # [k, j, i], which is contiguous in Fortran order
        _, j, i = volume.shape
        reach_i, reach_j, _ = self._reaches
        two, three = (part[: planes.stop - planes.start] for part in (self._two, self._three))
        with torch.autocast(read.device.type, enabled=False):
            one = self._along_k[planes, self.reads(planes)] @ volume.flatten(1)
            one = one.view(-1, j, i)
            for lines in parts_of(slice(0, j), self._line_voxels):
                read_from = _within(lines, reach_j, j)
                two[:, lines] = self._along_j[lines, read_from] @ one[:, read_from]
            rows, smooth = two.view(-1, i), three.view(-1, i)
            for lines in parts_of(slice(0, i), self._line_voxels):
                read_from = _within(lines, reach_i, i)
                torch.mm(
                    rows[:, read_from], self._along_i[lines, read_from].T, out=smooth[:, lines]
                )
        return three.transpose(-1, -3)


def _within(part: slice, margin: int, length: int) -> slice:
    """Return a part of an axis with a margin on both sides, limited to the axis."""
    return slice(max(part.start - margin, 0), min(part.stop + margin, length))


def _in_ranges(volume: Tensor) -> bool:
    """Return whether a volume is smoothed range by range: a single one that needs no gradient."""
    return volume.ndim == 3 and not (torch.is_grad_enabled() and volume.requires_grad)


def _reach(sigma: float) -> int:
    """Return the number of voxels on either side at which a Gaussian ends."""
    return int(_TRUNCATED_AT * sigma + 0.5)


def _smoothing_matrix(n: int, sigma: float, like: Tensor, edge: Edge = "reflect") -> Tensor:
    """Return the matrix [n, n] that smooths a line of n voxels."""
    radius = _reach(sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2) if radius else torch.ones(1).double()
    taps /= taps.sum()
    rows = torch.arange(n).repeat_interleave(len(taps))
    columns = (torch.arange(n)[:, None] + offsets.long()).reshape(-1)
    if edge == "nearest":
        columns = columns.clamp(0, n - 1)
    else:
        columns = columns % (2 * n)
        columns = torch.minimum(columns, 2 * n - 1 - columns)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix.index_put_((rows, columns), taps.repeat(n), accumulate=True)
    return matrix.to(like)
