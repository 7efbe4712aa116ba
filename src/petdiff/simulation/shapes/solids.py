"""Solids: ellipsoids, tubes along a line, and lofts through cross-sections along an axis.

Distances are exact for tubes of constant radius and first-order approximations otherwise, which
suffices for edges that are one voxel wide. Arrays are changed in place, because allocating
memory takes longer than the arithmetic.
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
    """An ellipsoid; the columns of `rotation` are its axes in patient coordinates."""

    centre_mm: ArrayLike
    radii_mm: ArrayLike
    rotation: FloatArray | None = None

    @cached_property
    def bounds(self) -> Bounds:
        centre, radii = np.asarray(self.centre_mm, float), np.asarray(self.radii_mm, float)
        rotation = np.eye(3) if self.rotation is None else self.rotation
        half = np.sqrt(((rotation * radii) ** 2).sum(axis=1))
        return box(centre - half, centre + half)

    def distance(self, at: Samples) -> FloatArray:
        centre = np.asarray(self.centre_mm, np.float32)
        radii = np.asarray(self.radii_mm, np.float32)
        offset = [p - c for p, c in zip(at.points, centre, strict=True)]
        if self.rotation is not None:
            t = self.rotation.astype(np.float32)
            x, y, z = offset
            offset = [x * t[0, n] + y * t[1, n] + z * t[2, n] for n in (0, 1, 2)]
        # Both sums are zero at the centre. Small constants make their quotient the largest
        # radius there.
        value: FloatArray = np.full_like(offset[0], 1e-8)
        gradient = np.full_like(offset[0], 1e-8 / radii.max() ** 2)
        for u, r in zip(offset, radii, strict=True):
            u *= 1 / r
            u *= u
            value += u
            u *= 1 / r**2
            gradient += u
        np.sqrt(value, out=value)
        value *= value - 1
        value /= np.sqrt(gradient, out=gradient)
        return value


@dataclass(frozen=True, eq=False)
class Tube:
    """A tube along a line of points, with a radius at each point; each segment is a round cone."""

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
            region = at.near(ends)
            if region is not None:
                points = [p[region] for p in at.points]
                cone = _round_cone(points, start, along, radii)
                np.minimum(distance[region], cone, out=distance[region])
        return distance


def _round_cone(
    points: Sequence[FloatArray],
    start: FloatArray,
    along: FloatArray,
    radii: tuple[float, float],
) -> FloatArray:
    offset = [p - s for p, s in zip(points, start, strict=True)]
    fraction: FloatArray = offset[0] * along[0] + offset[1] * along[1] + offset[2] * along[2]
    fraction *= np.float32(1 / max(float(along @ along), 1e-9))
    np.clip(fraction, 0, 1, out=fraction)
    distance = np.zeros_like(fraction)
    for u, step in zip(offset, along, strict=True):
        u -= fraction * step
        u *= u
        distance += u
    np.sqrt(distance, out=distance)
    fraction *= np.float32(radii[1] - radii[0])
    distance -= fraction
    distance -= np.float32(radii[0])
    return distance


@dataclass(frozen=True, eq=False)
class Loft:
    """A solid through cross-sections along an axis; each is a superellipse with four radii.

    knots [n, 8]: position along `axis`; centre (u, v) of the section; radii towards −u, +u, −v, +v;
    and exponent (2 is an ellipse, 4 is nearly a rectangle). (u, v) are the other two axes in order.
    """

    axis: int
    knots: ArrayLike

    STEP_MM = 0.5  # spacing of the interpolated sections

    @cached_property
    def _table(self) -> tuple[float, list[FloatArray], FloatArray]:
        knots = np.asarray(self.knots, float)
        start, stop = knots[0, 0], knots[-1, 0]
        position = np.linspace(start, stop, max(2, int((stop - start) / self.STEP_MM) + 1))
        table = PchipInterpolator(knots[:, 0], knots[:, 1:], axis=0)(position)
        table[:, 2:6] += 1e-3
        # Where the radius changes along the axis, the radial distance exceeds the true distance.
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
        step, columns, correction = self._table
        along = at.points[self.axis]
        u, v = (at.points[n] for n in (0, 1, 2) if n != self.axis)
        position = along - (start - np.float32(step / 2))
        position *= np.float32(1 / step)
        np.clip(position, 0, len(correction) - 1, out=position)
        row = position.astype(np.int32)
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
        # radial / ratio is the section's radius in this direction. Both are zero on the axis. Small
        # constants make the quotient the mean radius there.
        radial += np.float32(1e-4 * self._mean_radius)
        ratio += np.float32(1e-4)
        radial *= 1 - np.divide(1, ratio, out=ratio)
        radial *= correction.take(row)
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
