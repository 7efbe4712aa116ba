"""Gaussian smoothing of PyTorch volumes, on the device that holds them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_TRUNCATED_AT = 4.0  # standard deviations
# What a CPU smooths at once: planes along i, and voxels of a line along j or k. Both are chosen so
# that the values stay in its caches, and that products with zeros beyond the Gaussian are few.
_PLANES, _STRETCH = 16, 32


def gaussian_smooth(volume: Tensor, sigma: float) -> Tensor:
    """Return volumes [..., i, j, k] smoothed by a Gaussian of `sigma` voxels along all three axes.

    The volume is reflected at its faces (the edge voxel is repeated), as `mode="reflect"` of
    scipy.ndimage.gaussian_filter does. Computed in the volume's own precision, whatever autocast
    says, because a sum over many voxels needs it.
    """
    if _in_ranges(volume):
        smooth = torch.empty_like(volume)
        for planes, part in smoothed_ranges(volume, sigma):
            smooth[planes] = part
        return smooth
    i, j, k = volume.shape[-3:]
    with torch.autocast(volume.device.type, enabled=False):
        volume = volume @ _smoothing_matrix(k, sigma, volume).T
        volume = _smoothing_matrix(j, sigma, volume) @ volume
        smooth = _smoothing_matrix(i, sigma, volume) @ volume.flatten(-2)
        return smooth.reshape(volume.shape)


def smoothed_ranges(volume: Tensor, sigma: float) -> Iterator[tuple[slice, Tensor]]:
    """Yield ranges of planes along i, and what `gaussian_smooth` returns for them.

    What is computed from a range at once needs no memory of the size of the volume. A part is
    overwritten by the next. Volumes on a GPU, several volumes, and those that a gradient is asked
    of come as a single range.
    """
    if not _in_ranges(volume):
        yield slice(0, volume.shape[-3]), gaussian_smooth(volume, sigma)
        return
    band = _Band(volume, sigma)
    for first in range(0, len(volume), _PLANES):
        planes = slice(first, min(first + _PLANES, len(volume)))
        yield planes, band.smoothed(volume, planes)


class _Band:
    """Products with the bands of the smoothing matrices of volumes like one [i, j, k]."""

    def __init__(self, like: Tensor, sigma: float) -> None:
        i, j, k = like.shape
        self.reach = int(_TRUNCATED_AT * sigma + 0.5)
        self.along_i, self.along_j, self.along_k = (
            _smoothing_matrix(n, sigma, like) for n in like.shape
        )
        self._two, self._three = (like.new_empty(min(_PLANES, i), j, k) for _ in range(2))

    def smoothed(self, volume: Tensor, planes: slice) -> Tensor:
        """Return planes of the smoothed volume, in memory that the next call uses again."""
        j, k = volume.shape[1:]
        read = self._seen(planes, len(volume))
        two, three = (part[: planes.stop - planes.start] for part in (self._two, self._three))
        with torch.autocast("cpu", enabled=False):
            one = self.along_i[planes, read] @ volume[read].flatten(1)
            one = one.view(-1, j, k)
            for start in range(0, j, _STRETCH):
                lines = slice(start, min(start + _STRETCH, j))
                seen = self._seen(lines, j)
                two[:, lines] = self.along_j[lines, seen] @ one[:, seen]
            rows, smooth = two.view(-1, k), three.view(-1, k)
            for start in range(0, k, _STRETCH):
                lines = slice(start, min(start + _STRETCH, k))
                seen = self._seen(lines, k)
                torch.mm(rows[:, seen], self.along_k[lines, seen].T, out=smooth[:, lines])
        return three

    def _seen(self, part: slice, length: int) -> slice:
        """Return the part of an axis that another part of it depends on."""
        return slice(max(part.start - self.reach, 0), min(part.stop + self.reach, length))


def _in_ranges(volume: Tensor) -> bool:
    """Return whether a volume is smoothed range by range: a large one, on a CPU."""
    asked = torch.is_grad_enabled() and volume.requires_grad
    return volume.ndim == 3 and volume.device.type == "cpu" and not asked


def _smoothing_matrix(n: int, sigma: float, like: Tensor) -> Tensor:
    """Return the matrix [n, n] that smooths a line of n voxels reflected about its end faces."""
    radius = int(_TRUNCATED_AT * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    taps /= taps.sum()
    rows = torch.arange(n).repeat_interleave(len(taps))
    columns = (torch.arange(n)[:, None] + offsets.long()).reshape(-1) % (2 * n)
    columns = torch.minimum(columns, 2 * n - 1 - columns)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix.index_put_((rows, columns), taps.repeat(n), accumulate=True)
    return matrix.to(like)
