"""Solids: ellipsoids, tubes along a line, and cross-sections along an axis.

Distances are exact for tubes and first-order otherwise, which is enough for a soft edge of one
voxel. Arrays are changed in place, because allocating memory costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import FAR_MM, Bounds, Samples, box


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
        # Both are zero at the centre; small constants make their ratio the largest radius there.
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
    """A tube along a line of points with a radius at each point: a chain of round cones."""

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
    """Cross-sections along an axis: superellipses with a separate radius in four directions.

    knots [n, 8]: position along `axis`; centre (u, v) of the section; radii towards −u, +u, −v, +v;
    and exponent (2 an ellipse, 4 nearly a box). (u, v) are the other two axes in order.
    """

    axis: int
    knots: ArrayLike

    STEP_MM = 0.5  # of the table of sections

    @cached_property
    def _table(self) -> tuple[float, list[FloatArray], FloatArray]:
        knots = np.asarray(self.knots, float)
        start, stop = knots[0, 0], knots[-1, 0]
        position = np.linspace(start, stop, max(2, int((stop - start) / self.STEP_MM) + 1))
        table = PchipInterpolator(knots[:, 0], knots[:, 1:], axis=0)(position)
        table[:, 2:6] += 1e-3
        # Where the radius changes quickly, the radial distance exceeds the true one.
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
        # radial / ratio is the section's radius in this direction. Both are zero on the axis; small
        # constants make it the mean radius there.
        radial += np.float32(1e-4 * self._mean_radius)
        ratio += np.float32(1e-4)
        radial *= 1 - np.divide(1, ratio, out=ratio)
        radial *= flatten.take(row)
        np.maximum(radial, start - along, out=radial)
        np.maximum(radial, along - stop, out=radial)
        return radial


def _radius(
    u: FloatArray, below: FloatArray, above: FloatArray, row: NDArray[np.integer]
) -> FloatArray:
    """Return the section's radius on the side of u."""
    if np.array_equal(below, above):
        return below.take(row)
    return np.where(u > 0, above.take(row), below.take(row))
