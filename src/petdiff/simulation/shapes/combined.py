"""Shapes made from other shapes: set operations, offset and rippled surfaces, cached distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from petdiff.simulation.shapes.random_fields import FloatArray, RandomField
from petdiff.simulation.shapes.signed_distance import (
    FAR_MM,
    Bounds,
    Samples,
    Shape,
    box,
    padded,
)


@dataclass(frozen=True, eq=False)
class Union:
    """The union of several shapes; their joins are rounded over `blend_mm`."""

    parts: Sequence[Shape]
    blend_mm: float = 0.0

    @cached_property
    def bounds(self) -> Bounds:
        lows, highs = zip(*(part.bounds for part in self.parts), strict=True)
        margin_mm = self.blend_mm / 4
        return box(np.min(lows, axis=0) - margin_mm, np.max(highs, axis=0) + margin_mm)

    def distance(self, at: Samples) -> FloatArray:
        distance = np.full(at.shape, FAR_MM)
        for part in self.parts:
            region = at.near(padded(part.bounds, self.blend_mm))
            if region is not None:
                _join(distance[region], part.distance(at.part(region)), self.blend_mm)
        return distance


def _join(distance: FloatArray, other: FloatArray, blend_mm: float) -> None:
    """Replace `distance` by the smooth minimum of both (quadratic blend), in place."""
    if blend_mm > 0:
        overlap = distance - other
        np.abs(overlap, out=overlap)
        np.subtract(np.float32(blend_mm), overlap, out=overlap)
        np.maximum(overlap, 0, out=overlap)
        overlap *= overlap
        overlap *= np.float32(0.25 / blend_mm)
        np.minimum(distance, other, out=distance)
        distance -= overlap
    else:
        np.minimum(distance, other, out=distance)


@dataclass(frozen=True, eq=False)
class Offset:
    """A shape with its surface moved outwards by `margin_mm`, or inwards if it is negative."""

    shape: Shape
    margin_mm: float

    @cached_property
    def bounds(self) -> Bounds:
        return padded(self.shape.bounds, self.margin_mm)

    def distance(self, at: Samples) -> FloatArray:
        distance: FloatArray = self.shape.distance(at) - np.float32(self.margin_mm)
        return distance


@dataclass(frozen=True, eq=False)
class Intersection:
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
class Difference:
    """The part of a shape that lies outside another one, `cut`."""

    shape: Shape
    cut: Shape

    @property
    def bounds(self) -> Bounds:
        return self.shape.bounds

    def distance(self, at: Samples) -> FloatArray:
        distance = self.shape.distance(at)
        region = at.near(self.cut.bounds)
        if region is not None:
            cut = self.cut.distance(at.part(region))
            np.maximum(distance[region], -cut, out=distance[region])
        return distance


@dataclass(frozen=True, eq=False)
class Rippled:
    """A shape whose surface is displaced by a smooth random field."""

    shape: Shape
    field: RandomField

    @cached_property
    def bounds(self) -> Bounds:
        return padded(self.shape.bounds, 2 * float(np.sqrt((self.field.amplitude**2).sum())))

    def distance(self, at: Samples) -> FloatArray:
        distance = self.field.on(at.axes_mm)
        distance += self.shape.distance(at)
        return distance


@dataclass(frozen=True, eq=False)
class Cached:
    """A shape whose distance is computed once for all samples, because several structures need it.

    All callers get views of the same array and must not change it in place.
    """

    shape: Shape

    @property
    def bounds(self) -> Bounds:
        return self.shape.bounds

    def distance(self, at: Samples) -> FloatArray:
        whole, part = at.whole or (at, (slice(None), slice(None), slice(None)))
        if id(self) not in whole.cache:
            distance = np.full(whole.shape, FAR_MM)
            region = whole.near(self.bounds)
            if region is not None:
                distance[region] = self.shape.distance(whole.part(region))
            whole.cache[id(self)] = distance
        return whole.cache[id(self)][part]
