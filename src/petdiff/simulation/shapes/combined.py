"""Shapes made from other shapes: joined, grown, cut, rippled, or shared by several structures."""

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
    """The union of several shapes, with joins rounded over `blend_mm`."""

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


def _join(distance: FloatArray, other: FloatArray, blend_mm: float) -> None:
    """Replace `distance` by the smooth minimum of both (quadratic blend), in place."""
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
    """A shape made larger by a margin, or smaller by a negative one."""

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
class Shared:
    """A shape that contains many others; its distance is computed once for all samples.

    All users share the returned array, which must not be changed in place.
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
