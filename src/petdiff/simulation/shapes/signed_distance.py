"""Shapes as signed distances: negative inside, zero on the surface, in mm.

A shape knows the box that holds it and is asked only for points inside that box, so that painting
an organ costs what the organ is large. Distances are exact for tubes and first-order elsewhere,
which is what the soft edge of one voxel needs. Within a function arrays are reused in place: fresh
memory costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from petdiff.simulation.shapes.random_fields import Axes, FloatArray, Waves

FAR_MM = np.float32(1e3)
Triple = tuple[float, float, float]
Bounds = tuple[Triple, Triple]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Samples:
    """Points at which shapes are asked for their distance.

    origin_mm, step_mm  the grid the points lie on
    points    x, y, z float32 [i, j, k] in mm: the grid's points, displaced by the patient's warp
    reach_mm  how far a point may lie from its grid position, the half voxel of a soft edge included
    whole     the samples that these are a part of, and where; distances that several structures
              need are kept there
    """

    origin_mm: Triple
    step_mm: Triple
    points: tuple[FloatArray, FloatArray, FloatArray]
    reach_mm: float
    whole: tuple[Samples, Slices] | None = None
    kept: dict[int, FloatArray] = field(default_factory=dict)

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
        """The part of the grid that can touch a box, or None."""
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
        """The same samples within a part of the grid."""
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
    """Anything with a box around it and a distance to it."""

    @property
    def bounds(self) -> Bounds: ...

    def distance(self, at: Samples) -> FloatArray: ...


def box(low_mm: ArrayLike, high_mm: ArrayLike) -> Bounds:
    """A box from its two corners."""
    (ax, ay, az), (bx, by, bz) = np.asarray(low_mm, float), np.asarray(high_mm, float)
    return (float(ax), float(ay), float(az)), (float(bx), float(by), float(bz))


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid; the columns of `turn` are its axes in patient coordinates."""

    centre_mm: ArrayLike
    radii_mm: ArrayLike
    turn: FloatArray | None = None

    @cached_property
    def bounds(self) -> Bounds:
        centre, radii = np.asarray(self.centre_mm, float), np.asarray(self.radii_mm, float)
        turn = np.eye(3) if self.turn is None else self.turn
        half = np.sqrt(((turn * radii) ** 2).sum(axis=1))
        return box(centre - half, centre + half)

    def distance(self, at: Samples) -> FloatArray:
        centre = np.asarray(self.centre_mm, np.float32)
        radii = np.asarray(self.radii_mm, np.float32)
        offset = [p - c for p, c in zip(at.points, centre, strict=True)]
        if self.turn is not None:
            t = self.turn.astype(np.float32)
            x, y, z = offset
            offset = [x * t[0, n] + y * t[1, n] + z * t[2, n] for n in (0, 1, 2)]
        # At the centre both vanish; a trace of each makes their ratio the largest radius there.
        near: FloatArray = np.full_like(offset[0], 1e-8)
        steep = np.full_like(offset[0], 1e-8 / radii.max() ** 2)
        for u, r in zip(offset, radii, strict=True):
            u *= 1 / r
            u *= u
            near += u
            u *= 1 / r**2
            steep += u
        np.sqrt(near, out=near)
        near *= near - 1
        near /= np.sqrt(steep, out=steep)
        return near


@dataclass(frozen=True, eq=False)
class Tube:
    """Round cones in a row: a tube along a line of points with its own radius at each."""

    line_mm: ArrayLike
    radius_mm: ArrayLike

    @cached_property
    def _cones(self) -> list[tuple[Bounds, FloatArray, FloatArray, tuple[float, float]]]:
        line = np.atleast_2d(np.asarray(self.line_mm, float))
        radius = np.broadcast_to(np.asarray(self.radius_mm, float), len(line))
        cones = []
        for a, b, ra, rb in zip(line[:-1], line[1:], radius[:-1], radius[1:], strict=True):
            ends = box(
                np.minimum(a, b) - max(ra, rb),
                np.maximum(a, b) + max(ra, rb),
            )
            cones.append((ends, a.astype(np.float32), (b - a).astype(np.float32), (ra, rb)))
        return cones

    @cached_property
    def bounds(self) -> Bounds:
        lows, highs = zip(*(ends for ends, *_ in self._cones), strict=True)
        return box(np.min(lows, axis=0), np.max(highs, axis=0))

    def distance(self, at: Samples) -> FloatArray:
        distance = np.full(at.shape, FAR_MM)
        for ends, start, along, radii in self._cones:
            here = at.near(ends)
            if here is not None:
                points = [p[here] for p in at.points]
                cone = _round_cone(points, start, along, radii)
                np.minimum(distance[here], cone, out=distance[here])
        return distance


def _round_cone(
    points: Sequence[FloatArray],
    start: FloatArray,
    along: FloatArray,
    radii: tuple[float, float],
) -> FloatArray:
    offset = [p - s for p, s in zip(points, start, strict=True)]
    share: FloatArray = offset[0] * along[0] + offset[1] * along[1] + offset[2] * along[2]
    share *= np.float32(1 / max(float(along @ along), 1e-9))
    np.clip(share, 0, 1, out=share)
    square = np.zeros_like(share)
    for u, step in zip(offset, along, strict=True):
        u -= share * step
        u *= u
        square += u
    np.sqrt(square, out=square)
    share *= np.float32(radii[1] - radii[0])
    square -= share
    square -= np.float32(radii[0])
    return square


@dataclass(frozen=True, eq=False)
class Loft:
    """Cross-sections strung along an axis: superellipses with a radius of their own in each of the
    four directions.

    knots [n, 8]: position along `axis`; the section's centre (u, v); its radii towards −u, +u, −v,
    +v; and its exponent (2 an ellipse, 4 nearly a box). (u, v) are the other two axes in order.
    """

    axis: int
    knots: ArrayLike

    STEP_MM = 0.5  # of the table that sections are looked up in

    @cached_property
    def _table(self) -> tuple[float, list[FloatArray], FloatArray]:
        knots = np.asarray(self.knots, float)
        start, stop = knots[0, 0], knots[-1, 0]
        position = np.linspace(start, stop, max(2, int((stop - start) / self.STEP_MM) + 1))
        table = PchipInterpolator(knots[:, 0], knots[:, 1:], axis=0)(position)
        table[:, 2:6] += 1e-3
        # Where the radius changes quickly the radial distance overstates the true one.
        slope = np.abs(np.gradient(table[:, 2:6], position, axis=0)).mean(axis=1)
        columns = [np.ascontiguousarray(c, np.float32) for c in table.T]
        return (
            float(position[1] - position[0]),
            columns,
            (1 / np.hypot(1, slope)).astype(np.float32),
        )

    @cached_property
    def _mean_radius(self) -> float:
        return float(np.asarray(self.knots, float)[:, 3:7].mean())

    @cached_property
    def bounds(self) -> Bounds:
        knots = np.asarray(self.knots, float)
        u, v = (n for n in (0, 1, 2) if n != self.axis)
        low, high = np.empty(3), np.empty(3)
        low[self.axis], high[self.axis] = knots[0, 0], knots[-1, 0]
        low[u], high[u] = (knots[:, 1] - knots[:, 3]).min(), (knots[:, 1] + knots[:, 4]).max()
        low[v], high[v] = (knots[:, 2] - knots[:, 5]).min(), (knots[:, 2] + knots[:, 6]).max()
        return box(low, high)

    def distance(self, at: Samples) -> FloatArray:
        knots = np.asarray(self.knots, float)
        start, stop = np.float32(knots[0, 0]), np.float32(knots[-1, 0])
        step, columns, flatten = self._table
        along = at.points[self.axis]
        u, v = (at.points[n] for n in (0, 1, 2) if n != self.axis)
        place = along - (start - np.float32(step / 2))
        place *= np.float32(1 / step)
        np.clip(place, 0, len(flatten) - 1, out=place)
        row = place.astype(np.int32)
        u, v = u - columns[0].take(row), v - columns[1].take(row)
        radial = u * u
        radial += v * v
        np.sqrt(radial, out=radial)
        u /= _radius(u, columns[2], columns[3], row)
        v /= _radius(v, columns[4], columns[5], row)
        power = columns[6].take(row)
        ratio = np.power(np.abs(u, out=u), power, out=u)
        ratio += np.power(np.abs(v, out=v), power, out=v)
        np.power(ratio, np.divide(1, power, out=power), out=ratio)
        # radial / ratio is the section's radius in this direction; on the axis both vanish, and a
        # trace of each makes it the mean one.
        radial += np.float32(1e-4 * self._mean_radius)
        ratio += np.float32(1e-4)
        radial *= 1 - np.divide(1, ratio, out=ratio)
        radial *= flatten.take(row)
        np.maximum(radial, start - along, out=radial)
        np.maximum(radial, along - stop, out=radial)
        return radial


def _radius(u: FloatArray, below: FloatArray, above: FloatArray, row: NDArray[Any]) -> FloatArray:
    """The section's radius on the side where u lies."""
    if np.array_equal(below, above):
        return below.take(row)
    return np.where(u > 0, above.take(row), below.take(row))


@dataclass(frozen=True, eq=False)
class Union:
    """Several shapes as one, with joins rounded over `blend_mm`."""

    parts: Sequence[Shape]
    blend_mm: float = 0.0

    @cached_property
    def bounds(self) -> Bounds:
        lows, highs = zip(*(part.bounds for part in self.parts), strict=True)
        grown = self.blend_mm / 4
        return box(np.min(lows, axis=0) - grown, np.max(highs, axis=0) + grown)

    def distance(self, at: Samples) -> FloatArray:
        distance = np.full(at.shape, FAR_MM)
        for part in self.parts:
            here = at.near(padded(part.bounds, self.blend_mm))
            if here is not None:
                _join(distance[here], part.distance(at.part(here)), self.blend_mm)
        return distance


def padded(bounds: Bounds, by_mm: float) -> Bounds:
    """Return a box that reaches farther by a margin on every side."""
    (ax, ay, az), (bx, by, bz) = bounds
    return (ax - by_mm, ay - by_mm, az - by_mm), (bx + by_mm, by + by_mm, bz + by_mm)


def _join(distance: FloatArray, other: FloatArray, blend_mm: float) -> None:
    """Puts the smooth minimum of both into the first (quadratic blend)."""
    if blend_mm > 0:
        apart = distance - other
        np.abs(apart, out=apart)
        np.subtract(np.float32(blend_mm), apart, out=apart)
        np.maximum(apart, 0, out=apart)
        apart *= apart
        apart *= np.float32(0.25 / blend_mm)
        np.minimum(distance, other, out=distance)
        distance -= apart
    else:
        np.minimum(distance, other, out=distance)


@dataclass(frozen=True, eq=False)
class Grown:
    """A shape made larger (or, with a negative margin, smaller) by a margin."""

    shape: Shape
    margin_mm: float

    @cached_property
    def bounds(self) -> Bounds:
        return padded(self.shape.bounds, self.margin_mm)

    def distance(self, at: Samples) -> FloatArray:
        distance: FloatArray = self.shape.distance(at) - np.float32(self.margin_mm)
        return distance


@dataclass(frozen=True, eq=False)
class Within:
    """The part of a shape that lies inside another one."""

    shape: Shape
    container: Shape

    @cached_property
    def bounds(self) -> Bounds:
        (low_a, high_a), (low_b, high_b) = self.shape.bounds, self.container.bounds
        return box(np.maximum(low_a, low_b), np.minimum(high_a, high_b))

    def distance(self, at: Samples) -> FloatArray:
        return np.maximum(self.shape.distance(at), self.container.distance(at))


@dataclass(frozen=True, eq=False)
class Without:
    """A shape with another one cut away."""

    shape: Shape
    cut: Shape

    @property
    def bounds(self) -> Bounds:
        return self.shape.bounds

    def distance(self, at: Samples) -> FloatArray:
        distance = self.shape.distance(at)
        here = at.near(self.cut.bounds)
        if here is not None:
            cut = self.cut.distance(at.part(here))
            np.maximum(distance[here], -cut, out=distance[here])
        return distance


@dataclass(frozen=True, eq=False)
class Rippled:
    """A shape whose surface a smooth random field moves in and out."""

    shape: Shape
    waves: Waves

    @cached_property
    def bounds(self) -> Bounds:
        return padded(self.shape.bounds, 2 * float(np.sqrt((self.waves.amplitude**2).sum())))

    def distance(self, at: Samples) -> FloatArray:
        distance = self.waves.on(at.axes_mm)
        distance += self.shape.distance(at)
        return distance


@dataclass(frozen=True, eq=False)
class Shared:
    """A shape that many others lie within: its distance is worked out once for all samples.

    What it returns belongs to all of them and must not be changed in place.
    """

    shape: Shape

    @property
    def bounds(self) -> Bounds:
        return self.shape.bounds

    def distance(self, at: Samples) -> FloatArray:
        whole, part = at.whole or (at, (slice(None), slice(None), slice(None)))
        if id(self) not in whole.kept:
            distance = np.full(whole.shape, FAR_MM)
            here = whole.near(self.bounds)
            if here is not None:
                distance[here] = self.shape.distance(whole.part(here))
            whole.kept[id(self)] = distance
        return whole.kept[id(self)][part]
