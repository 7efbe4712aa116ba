"""Find the body in a scan. The network is evaluated only there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from petdiff.methods.local_activity import typical_activity
from petdiff.volume.planes import fortran_order
from petdiff.volume.regions import Box

AIR_CUBE = 8  # side in voxels of the cubes whose mean distinguishes air from body
AIR_LEVEL = 0.1  # of typical activity: a cube is air if it and its neighbours are below this


@dataclass(frozen=True)
class Body:
    """The part of a scan that is not air.

    box    bounding box of the body in voxels
    cubes  bool, whether each cube of the box belongs to the body
    side   of a cube, in voxels
    """

    box: Box
    cubes: Tensor
    side: int

    @classmethod
    def find(cls, y: Tensor, multiple: int) -> Body | None:
        """Return the body in a scan y [i, j, k]; None if no voxel is positive.

        The box's sides are multiples of `multiple` voxels.
        """
        if not y.max() > 0:
            return None
        side = math.lcm(AIR_CUBE, multiple)
        padded = pad(y.clamp(min=0), side).transpose(-1, -3)[None]  # in the order of memory
        hot = F.avg_pool3d(padded, side) > AIR_LEVEL * typical_activity(y)
        near_hot = (F.max_pool3d(hot.float(), 3, stride=1, padding=1)[0] > 0).transpose(-1, -3)
        where = near_hot.nonzero()
        low, high = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
        spans = [slice(a, b) for a, b in zip(low, high, strict=True)]
        i, j, k = (slice(span.start * side, span.stop * side) for span in spans)
        return cls((i, j, k), near_hot[tuple(spans)], side)

    def share(self, shape: tuple[int, int, int]) -> float:
        """Return the body's share of the voxels of the scan, which has `shape`."""
        i, j, k = (min(part.stop, n) - part.start for part, n in zip(self.box, shape, strict=True))
        return float(self.voxels()[:i, :j, :k].sum()) / math.prod(shape)

    def voxels(self) -> Tensor:
        """Return the cubes as a mask of the box's voxels, in Fortran order."""
        mask = self.cubes.transpose(-1, -3)
        for axis in range(3):
            mask = mask.repeat_interleave(self.side, dim=axis)
        return mask.transpose(-1, -3)

    def crop(self, y: Tensor) -> Tensor:
        """Return the scan within the box, in Fortran order.

        It is mirrored where the box is larger.
        """
        # Such a box is larger than its mirrored part: it has the neighbours of all warm cubes.
        return fortran_order(pad(y[self.box], self.side))

    def paste(self, whole: Tensor, part: Tensor) -> Tensor:
        """Copy the body's voxels of `part`, a volume of the box, to `whole`, and return `whole`."""
        target = whole[self.box]
        i, j, k = target.shape
        inside = self.voxels()[:i, :j, :k]
        torch.where(inside, part[:i, :j, :k], target, out=target)
        return whole


def pad(y: Tensor, multiple: int) -> Tensor:
    """Mirror a volume at its far faces, so that the length of every axis is a multiple."""
    for axis, n in enumerate(y.shape):
        if n % multiple:
            mirrored = torch.cat([torch.arange(n), torch.arange(n - 1, -1, -1)])
            index = mirrored.repeat(1 + multiple // n)[: -(-n // multiple) * multiple]
            y = y.index_select(axis, index.to(y.device))
    return y
