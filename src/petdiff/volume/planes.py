"""Volumes [..., i, j, k] in Fortran order: i is the fastest axis in memory, as in most files.

Planes along k are then contiguous, and computations on a few planes at a time are fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(volume: NDArray[np.float32]) -> Tensor:
    """Return a volume as a tensor with the same memory.

    It is a copy if the volume is read-only, because PyTorch would warn of it.
    """
    return torch.from_numpy(np.require(volume, requirements=["W"]))


def fortran_order(volume: Tensor) -> Tensor:
    """Return a volume in Fortran order; a copy if it has another order in memory."""
    return volume.transpose(-1, -3).contiguous().transpose(-1, -3)


def cat_planes(parts: Sequence[Tensor]) -> Tensor:
    """Return volumes joined along k, in Fortran order."""
    return torch.cat([part.transpose(-1, -3) for part in parts], dim=-3).transpose(-1, -3)


def parts_of(planes: slice, most: int) -> Iterator[slice]:
    """Yield a range of planes in consecutive parts of at most `most`."""
    for start in range(planes.start, planes.stop, most):
        yield slice(start, min(start + most, planes.stop))


class PlaneBuffer:
    """A buffer for the planes of a volume that are still needed, while others are added.

    It has space for more planes, so that planes are rarely moved.

    first, stop  number in the volume of the first stored plane, and of the next to be added
    """

    def __init__(self) -> None:
        self.first = self.stop = 0
        self._buffer: Tensor | None = None
        self._begin = 0  # number in the volume of the buffer's first plane

    def add(self, planes: Tensor) -> None:
        """Add the next planes [..., i, j, n]."""
        stop = self.stop + planes.shape[-1]
        if self._buffer is None or stop - self._begin > self._buffer.shape[-1]:
            self._make_room(planes)
        assert self._buffer is not None
        self._buffer[..., self.stop - self._begin : stop - self._begin] = planes
        self.stop = stop

    def __getitem__(self, planes: slice) -> Tensor:
        """Return planes by their numbers in the volume; all of them must be stored."""
        assert self._buffer is not None
        assert self.first <= planes.start <= planes.stop <= self.stop
        return self._buffer[..., planes.start - self._begin : planes.stop - self._begin]

    def drop(self, before: int) -> None:
        """Remove the planes before number `before`."""
        self.first = max(self.first, min(before, self.stop))

    def _make_room(self, planes: Tensor) -> None:
        """Move the stored planes to the front of the buffer, or of a larger one."""
        stored, free = self.stop - self.first, self.first - self._begin
        needed = stored + planes.shape[-1]
        buffer = self._buffer
        if buffer is None or stored > free or needed > buffer.shape[-1]:
            *leading, i, j, _ = planes.shape
            buffer = planes.new_empty((*leading, 2 * needed, j, i)).transpose(-1, -3)
        if stored:
            buffer[..., :stored] = self[self.first : self.stop]
        self._buffer, self._begin = buffer, self.first
