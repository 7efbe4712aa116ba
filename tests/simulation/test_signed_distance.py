"""Signed distances and random fields agree with closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.simulation.shapes.combined import Cached, Difference, Intersection, Offset, Union
from petdiff.simulation.shapes.random_fields import FloatArray, RandomField
from petdiff.simulation.shapes.signed_distance import Samples, Shape
from petdiff.simulation.shapes.solids import Ellipsoid, Loft, Tube

STEP = 2.0


def samples(half_mm: float = 30.0) -> Samples:
    axis = np.arange(-half_mm, half_mm + STEP, STEP)
    x, y, z = (a.astype(np.float32) for a in np.meshgrid(axis, axis, axis, indexing="ij"))
    low = (-half_mm, -half_mm, -half_mm)
    return Samples(low, (STEP, STEP, STEP), (x, y, z), STEP)


def volume_ml(shape: Shape, at: Samples) -> float:
    cover = np.clip(0.5 - shape.distance(at) / STEP, 0, 1)
    return float(cover.sum()) * STEP**3 / 1000


def radius(at: Samples) -> FloatArray:
    x, y, z = at.points
    return np.sqrt(x**2 + y**2 + z**2)


def test_ball_distance_is_exact() -> None:
    at = samples()
    ball = Ellipsoid((0, 0, 0), (20, 20, 20))
    np.testing.assert_allclose(ball.distance(at), radius(at) - 20, atol=0.01)


def test_tube_distance_is_the_distance_to_its_line_less_its_radius() -> None:
    at = samples()
    x, y, z = at.points
    exact = np.hypot(np.hypot(x, y), np.maximum(np.abs(z) - 15, 0)) - 6
    tube = Tube([(0, 0, -15), (0, 0, 0), (0, 0, 15)], 6)
    near = exact < 0
    np.testing.assert_allclose(tube.distance(at)[near], exact[near], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_straight_round_loft_is_a_cylinder(axis: int) -> None:
    at = samples()
    loft = Loft(axis, [(-20, 0, 0, 12, 12, 12, 12, 2), (20, 0, 0, 12, 12, 12, 12, 2)])
    u, v = (at.points[n] for n in (0, 1, 2) if n != axis)
    exact = np.maximum(np.hypot(u, v) - 12, np.abs(at.points[axis]) - 20)
    np.testing.assert_allclose(loft.distance(at), exact, atol=0.05)


def test_loft_has_the_area_of_a_superellipse() -> None:
    # Area of |x/a|⁴ + |y/b|⁴ < 1 is 4ab Γ(5/4)² / Γ(3/2) = 3.7081 ab.
    loft = Loft(2, [(-20, 0, 0, 8, 16, 10, 10, 4), (20, 0, 0, 8, 16, 10, 10, 4)])
    assert volume_ml(loft, samples()) == pytest.approx(3.7081 * 12 * 10 * 40 / 1000, rel=0.01)


def test_soft_edges_add_up_to_the_volume() -> None:
    ellipsoid = Ellipsoid((1.3, -0.4, 0.7), (12, 20, 16))
    assert volume_ml(ellipsoid, samples()) == pytest.approx(
        4 / 3 * np.pi * 12 * 20 * 16 / 1000, rel=0.01
    )


def test_set_operations_are_minima_and_maxima_of_distances() -> None:
    at = samples()
    a, b = Ellipsoid((-6, 0, 0), (14, 14, 14)), Ellipsoid((6, 0, 0), (14, 14, 14))
    da, db = a.distance(at), b.distance(at)
    near = (np.abs(da) < 3) | (np.abs(db) < 3)
    np.testing.assert_array_equal(Union([a, b]).distance(at)[da < 0], np.minimum(da, db)[da < 0])
    np.testing.assert_array_equal(Intersection(a, b).distance(at)[near], np.maximum(da, db)[near])
    np.testing.assert_array_equal(
        Difference(a, b).distance(at)[db < 0], np.maximum(da, -db)[db < 0]
    )
    np.testing.assert_allclose(Offset(a, 2).distance(at), da - 2, atol=1e-5)


def test_blend_rounds_only_the_join() -> None:
    at = samples()
    parts = [Ellipsoid((-16, 0, 0), (15, 15, 15)), Ellipsoid((16, 0, 0), (15, 15, 15))]
    sharp, round_ = Union(parts).distance(at), Union(parts, blend_mm=8).distance(at)
    assert np.all(round_ <= sharp + 1e-5)
    assert round_[15, 15, 15] < 0 < sharp[15, 15, 15]
    far = np.abs(at.points[0]) > 14
    np.testing.assert_array_equal(round_[far & (sharp < 0)], sharp[far & (sharp < 0)])


def test_part_of_the_samples_has_the_same_distances() -> None:
    whole = samples()
    shape = Cached(Union([Ellipsoid((3, 0, 0), (9, 12, 15)), Tube([(0, 0, 0), (20, 5, 5)], 5)], 4))
    part = (slice(4, 22), slice(7, 29), slice(2, 17))
    np.testing.assert_array_equal(shape.distance(whole.part(part)), shape.distance(whole)[part])


def test_near_includes_every_point_inside() -> None:
    at = samples()
    shape = Ellipsoid((5, -7, 3), (8, 11, 6))
    inside = shape.distance(at) < 0
    region = at.near(shape.bounds)
    assert region is not None
    assert inside[region].sum() == inside.sum() > 0
    assert at.near(((100, 0, 0), (120, 1, 1))) is None


def test_random_field_has_its_standard_deviation_and_does_not_depend_on_the_grid() -> None:
    random_field = RandomField.random(np.random.default_rng(1), 40, (10, 30), 0.7)
    axis = np.arange(0, 200, 5.0)
    field = random_field.on((axis, axis, axis))
    assert field.std() == pytest.approx(0.7, rel=0.1)
    assert abs(field.mean()) < 0.05
    crop = random_field.on((axis[3:9], axis[10:20], axis[30:]))
    np.testing.assert_allclose(crop, field[3:9, 10:20, 30:], atol=1e-4)


def test_shear_displacement_has_no_divergence() -> None:
    moves = RandomField.shear(np.random.default_rng(2), 12, (60, 90), 4.0)
    axis = np.arange(-60, 60, 1.0)
    components = [move.on((axis, axis, axis)) for move in moves]
    slopes = [np.gradient(c, 1.0, axis=n)[1:-1, 1:-1, 1:-1] for n, c in enumerate(components)]
    assert np.sqrt(np.mean([c.var() for c in components])) == pytest.approx(4.0, rel=0.4)
    assert np.abs(sum(slopes)).max() < 0.01 * np.abs(slopes).max()
