"""Signed distances to shapes in mm: negative inside, zero on the surface.

Each shape has a bounding box. Distances are computed only for points near this box, so the time
to draw an organ is proportional to its size. Solids are in `solids`, combinations of them in
`combined`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from petdiff.simulation.shapes.random_fields import Axes, FloatArray

FAR_MM = np.float32(1e3)
Triple = tuple[float, float, float]
Bounds = tuple[Triple, Triple]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Samples:
    """Points at which the distance to shapes is computed.

    origin_mm, step_mm  the grid of the points
    points              x, y, z float32 [i, j, k] in mm: the grid's points, displaced by the
                        patient's warp
    reach_mm            upper limit of a point's displacement from its grid position, plus a voxel
                        for the soft edge
    whole               if these samples are a part of others: the others, and which part
    cache               distances that several structures need, by the id of the shape
    """

    origin_mm: Triple
    step_mm: Triple
    points: tuple[FloatArray, FloatArray, FloatArray]
    reach_mm: float
    whole: tuple[Samples, Slices] | None = None
    cache: dict[int, FloatArray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.points[0].shape
        return i, j, k

    @property
    def axes_mm(self) -> Axes:
        x, y, z = (
            o + s * np.arange(n)
            for o, s, n in zip(self.origin_mm, self.step_mm, self.shape, strict=True)
        )
        return x, y, z

    def near(self, bounds: Bounds) -> Slices | None:
        """Return the part of the grid whose points can lie in a box; None if there is none."""
        slices = []
        for n in range(3):
            start = (bounds[0][n] - self.reach_mm - self.origin_mm[n]) / self.step_mm[n]
            stop = (bounds[1][n] + self.reach_mm - self.origin_mm[n]) / self.step_mm[n]
            first, last = max(0, ceil(start)), min(self.shape[n], ceil(stop))
            if first >= last:
                return None
            slices.append(slice(first, last))
        return slices[0], slices[1], slices[2]

    def part(self, slices: Slices) -> Samples:
        """Return the samples within a part of the grid."""
        x, y, z = (
            o + s * piece.start
            for o, s, piece in zip(self.origin_mm, self.step_mm, slices, strict=True)
        )
        whole, offset = self.whole or (self, (slice(0, 0), slice(0, 0), slice(0, 0)))
        i, j, k = (
            slice(piece.start + o.start, piece.stop + o.start)
            for piece, o in zip(slices, offset, strict=True)
        )
        px, py, pz = (p[slices] for p in self.points)
        return Samples((x, y, z), self.step_mm, (px, py, pz), self.reach_mm, (whole, (i, j, k)))


class Shape(Protocol):
    """A shape, defined by its bounding box and its signed distance."""

    @property
    def bounds(self) -> Bounds: ...

    def distance(self, at: Samples) -> FloatArray: ...


def box(low_mm: ArrayLike, high_mm: ArrayLike) -> Bounds:
    """Return a box from its two corners."""
    (ax, ay, az), (bx, by, bz) = np.asarray(low_mm, float), np.asarray(high_mm, float)
    return (float(ax), float(ay), float(az)), (float(bx), float(by), float(bz))


def padded(bounds: Bounds, by_mm: float) -> Bounds:
    """Return a box with a margin on every side."""
    (ax, ay, az), (bx, by, bz) = bounds
    return (ax - by_mm, ay - by_mm, az - by_mm), (bx + by_mm, by + by_mm, bz + by_mm)
