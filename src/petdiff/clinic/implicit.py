"""Shapes as signed distances: negative inside, zero on the surface, in mm.

A shape knows the box that holds it and is only asked for points inside that box, so that painting an
organ costs what the organ is large. Distances are exact for tubes and first-order elsewhere, which
is what the soft edge of one voxel needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from petdiff.clinic.waves import Axes, Waves

FAR_MM = np.float32(1e3)
Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Samples:
    """Points at which shapes are asked for their distance.

    axes_mm  the grid's own axes
    points   x, y, z float32 [i, j, k] in mm: the grid's points, displaced by the patient's warp
    reach_mm how far a point may lie from its grid position, the half voxel of a soft edge included
    """

    axes_mm: Axes
    points: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    reach_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.axes_mm[0]), len(self.axes_mm[1]), len(self.axes_mm[2]))

    def near(self, bounds: Bounds) -> Slices | None:
        """The part of the grid that can touch a box, or None."""
        slices = []
        for axis, low, high in zip(self.axes_mm, *bounds, strict=True):
            start = int(np.searchsorted(axis, low - self.reach_mm))
            stop = int(np.searchsorted(axis, high + self.reach_mm))
            if start >= stop:
                return None
            slices.append(slice(start, stop))
        return (slices[0], slices[1], slices[2])

    def part(self, slices: Slices) -> Samples:
        """The same samples within a part of the grid."""
        x, y, z = (a[s] for a, s in zip(self.axes_mm, slices, strict=True))
        px, py, pz = (p[slices] for p in self.points)
        return Samples((x, y, z), (px, py, pz), self.reach_mm)


class Shape(Protocol):
    """Anything with a box around it and a distance to it."""

    @property
    def bounds(self) -> Bounds: ...

    def distance(self, at: Samples) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; the columns of `turn` are its axes in patient coordinates."""

    centre_mm: ArrayLike
    radii_mm: ArrayLike
    turn: NDArray[np.float64] | None = None

    @property
    def bounds(self) -> Bounds:
        centre, radii = np.asarray(self.centre_mm, float), np.asarray(self.radii_mm, float)
        turn = np.eye(3) if self.turn is None else self.turn
        half = np.sqrt(((turn * radii) ** 2).sum(axis=1))
        return centre - half, centre + half

    def distance(self, at: Samples) -> NDArray[Any]:
        centre = np.asarray(self.centre_mm, np.float32)
        radii = np.asarray(self.radii_mm, np.float32)
        offset = [p - c for p, c in zip(at.points, centre, strict=True)]
        if self.turn is not None:
            t = self.turn.astype(np.float32)
            offset = [
                offset[0] * t[0, n] + offset[1] * t[1, n] + offset[2] * t[2, n] for n in (0, 1, 2)
            ]
        near = np.zeros_like(offset[0])
        steep = np.full_like(offset[0], 1e-12)
        for u, r in zip(offset, radii, strict=True):
            scaled = (u / r) ** 2
            near += scaled
            steep += scaled / r**2
        near = np.sqrt(near)
        # Far inside the first-order formula loses its meaning; the smallest radius bounds it.
        return np.maximum(near * (near - 1) / np.sqrt(steep), (near - 1) * radii.max())


@dataclass(frozen=True)
class Tube:
    """Round cones in a row: a tube along a line of points with its own radius at each."""

    line_mm: ArrayLike
    radius_mm: ArrayLike

    @cached_property
    def _cones(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        line = np.atleast_2d(np.asarray(self.line_mm, float))
        return line, np.broadcast_to(np.asarray(self.radius_mm, float), len(line))

    @property
    def bounds(self) -> Bounds:
        line, radius = self._cones
        return (line - radius[:, None]).min(axis=0), (line + radius[:, None]).max(axis=0)

    def distance(self, at: Samples) -> NDArray[Any]:
        line, radius = self._cones
        distance = np.full(at.shape, FAR_MM)
        for a, b, ra, rb in zip(line[:-1], line[1:], radius[:-1], radius[1:], strict=True):
            r = max(ra, rb)
            here = at.near((np.minimum(a, b) - r, np.maximum(a, b) + r))
            if here is not None:
                cone = _round_cone(tuple(p[here] for p in at.points), a, b, ra, rb)
                np.minimum(distance[here], cone, out=distance[here])
        return distance


def _round_cone(
    points: tuple[NDArray[Any], ...],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    ra: float,
    rb: float,
) -> NDArray[Any]:
    ax, ay, az = a.astype(np.float32)
    bx, by, bz = (b - a).astype(np.float32)
    x, y, z = points[0] - ax, points[1] - ay, points[2] - az
    along = x * bx + y * by + z * bz
    along *= np.float32(1 / max(float((b - a) @ (b - a)), 1e-9))
    np.clip(along, 0, 1, out=along)
    x -= along * bx
    y -= along * by
    z -= along * bz
    return np.sqrt(x * x + y * y + z * z) - (np.float32(ra) + along * np.float32(rb - ra))


@dataclass(frozen=True)
class Loft:
    """Cross-sections strung along an axis: superellipses with a radius of their own in each of the
    four directions.

    knots [n, 8]: position along `axis`; the section's centre (u, v); its radii towards −u, +u, −v,
    +v; and its exponent (2 an ellipse, 4 nearly a box). (u, v) are the other two axes in order.
    """

    axis: int
    knots: ArrayLike
    step_mm: float = 0.5

    @cached_property
    def _table(self) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
        knots = np.asarray(self.knots, float)
        start, stop = knots[0, 0], knots[-1, 0]
        position = np.linspace(start, stop, max(2, int((stop - start) / self.step_mm) + 1))
        table = PchipInterpolator(knots[:, 0], knots[:, 1:], axis=0)(position)
        # Where the radius changes quickly the radial distance overstates the true one.
        slope = np.abs(np.gradient(table[:, 2:6], position, axis=0)).mean(axis=1)
        flatten = 1 / np.sqrt(1 + slope**2)
        step = (stop - start) / (len(position) - 1)
        return step, table.astype(np.float32), flatten.astype(np.float32)

    @property
    def bounds(self) -> Bounds:
        knots = np.asarray(self.knots, float)
        u_axis, v_axis = (n for n in (0, 1, 2) if n != self.axis)
        low, high = np.empty(3), np.empty(3)
        low[self.axis], high[self.axis] = knots[0, 0], knots[-1, 0]
        low[u_axis] = (knots[:, 1] - knots[:, 3]).min()
        high[u_axis] = (knots[:, 1] + knots[:, 4]).max()
        low[v_axis] = (knots[:, 2] - knots[:, 5]).min()
        high[v_axis] = (knots[:, 2] + knots[:, 6]).max()
        return low, high

    def distance(self, at: Samples) -> NDArray[Any]:
        knots = np.asarray(self.knots, float)
        start, stop = np.float32(knots[0, 0]), np.float32(knots[-1, 0])
        step, table, flatten = self._table
        along = at.points[self.axis]
        u, v = (at.points[n] for n in (0, 1, 2) if n != self.axis)
        row = np.clip((along - start) / np.float32(step) + np.float32(0.5), 0, len(table) - 1)
        row = row.astype(np.intp)
        section = table.take(row, axis=0)
        u, v = u - section[..., 0], v - section[..., 1]
        a = np.where(u > 0, section[..., 3], section[..., 2]) + np.float32(1e-3)
        b = np.where(v > 0, section[..., 5], section[..., 4]) + np.float32(1e-3)
        power = section[..., 6]
        ratio = (np.abs(u) / a) ** power + (np.abs(v) / b) ** power
        ratio = np.maximum(ratio ** (1 / power), np.float32(1e-3))
        radial = np.maximum(np.sqrt(u * u + v * v), np.float32(1e-3) * np.minimum(a, b))
        distance = radial * (1 - 1 / ratio) * flatten.take(row)
        return np.maximum(distance, np.maximum(start - along, along - stop))


@dataclass(frozen=True)
class Union:
    """Several shapes as one, with joins rounded over `blend_mm`."""

    parts: Sequence[Shape]
    blend_mm: float = 0.0

    @property
    def bounds(self) -> Bounds:
        lows, highs = zip(*(part.bounds for part in self.parts), strict=True)
        return np.min(lows, axis=0) - self.blend_mm / 4, np.max(highs, axis=0) + self.blend_mm / 4

    def distance(self, at: Samples) -> NDArray[Any]:
        distance = np.full(at.shape, FAR_MM)
        for part in self.parts:
            low, high = part.bounds
            here = at.near((low - self.blend_mm, high + self.blend_mm))
            if here is None:
                continue
            d = part.distance(at.part(here))
            distance[here] = _smooth_minimum(distance[here], d, self.blend_mm)
        return distance


def _smooth_minimum(a: NDArray[Any], b: NDArray[Any], blend_mm: float) -> NDArray[Any]:
    lower = np.minimum(a, b)
    if blend_mm > 0:
        overlap = np.maximum(np.float32(blend_mm) - np.abs(a - b), 0)
        lower -= overlap * overlap * np.float32(0.25 / blend_mm)
    return lower


@dataclass(frozen=True)
class Grown:
    """A shape made larger (or, with a negative margin, smaller) by a margin."""

    shape: Shape
    margin_mm: float

    @property
    def bounds(self) -> Bounds:
        low, high = self.shape.bounds
        return low - self.margin_mm, high + self.margin_mm

    def distance(self, at: Samples) -> NDArray[Any]:
        return self.shape.distance(at) - np.float32(self.margin_mm)


@dataclass(frozen=True)
class Within:
    """The part of a shape that lies inside another one."""

    shape: Shape
    container: Shape

    @property
    def bounds(self) -> Bounds:
        (low_a, high_a), (low_b, high_b) = self.shape.bounds, self.container.bounds
        return np.maximum(low_a, low_b), np.minimum(high_a, high_b)

    def distance(self, at: Samples) -> NDArray[Any]:
        return np.maximum(self.shape.distance(at), self.container.distance(at))


@dataclass(frozen=True)
class Without:
    """A shape with another one cut away."""

    shape: Shape
    cut: Shape

    @property
    def bounds(self) -> Bounds:
        return self.shape.bounds

    def distance(self, at: Samples) -> NDArray[Any]:
        distance = self.shape.distance(at)
        here = at.near(self.cut.bounds)
        if here is not None:
            cut = self.cut.distance(at.part(here))
            distance[here] = np.maximum(distance[here], -cut)
        return distance


@dataclass(frozen=True)
class Rippled:
    """A shape whose surface a smooth random field moves in and out."""

    shape: Shape
    waves: Waves

    @property
    def bounds(self) -> Bounds:
        low, high = self.shape.bounds
        reach = 2 * float(np.sqrt((self.waves.amplitude**2).sum()))
        return low - reach, high + reach

    def distance(self, at: Samples) -> NDArray[Any]:
        return self.shape.distance(at) + self.waves.on(at.axes_mm)
