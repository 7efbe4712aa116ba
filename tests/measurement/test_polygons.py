"""Shares of voxels within contours, against areas and volumes that are known."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.measurement.polygons import area, by_plane, plane_shares, stacked_shares


def circle(
    radius: float, centre: tuple[float, float] = (10.3, 9.6), points: int = 400
) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], 1)


def test_a_rectangle_covers_its_voxels_by_their_part() -> None:
    corners = np.array([[1.5, 0.5], [4.0, 0.5], [4.0, 3.0], [1.5, 3.0]])
    shares = plane_shares([corners], (6, 5))
    along, across = np.array([0, 0, 1, 1, 0.5, 0]), np.array([0, 1, 1, 0.5, 0])
    np.testing.assert_allclose(shares, np.outer(along, across), atol=1e-12)


@pytest.mark.parametrize("radius", [0.4, 2.0, 7.5])
def test_a_circle_has_its_area_whatever_its_direction(radius: float) -> None:
    for outline in (circle(radius), circle(radius)[::-1]):
        shares = plane_shares([outline], (20, 20))
        assert shares.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
        assert shares.max() <= 1 + 1e-12


def test_a_circle_within_a_circle_is_a_hole() -> None:
    ring = plane_shares([circle(7), circle(3)], (20, 20))
    assert ring.sum() == pytest.approx(np.pi * (49 - 9), rel=0.01)
    assert ring[10, 10] == 0


def test_what_lies_outside_the_grid_does_not_count() -> None:
    half = plane_shares([circle(4, centre=(-0.5, 10))], (20, 20))
    assert half.sum() == pytest.approx(np.pi * 8, rel=0.01)
    assert plane_shares([circle(4, centre=(40, 40))], (20, 20)).sum() == 0


@pytest.mark.parametrize("centre", [(10, 10), (-3.3, 50.2)])
def test_the_area_is_that_of_the_outlines_on_and_off_the_grid(centre: tuple[float, float]) -> None:
    ring = [circle(7, centre), circle(3, centre)]
    assert area(ring) == pytest.approx(np.pi * (49 - 9), rel=0.01)


@pytest.mark.parametrize("planes", [10, 16, 40])
def test_planes_of_any_distance_fill_a_ball(planes: int) -> None:
    radius = 8.0
    heights = (np.arange(planes) + 0.5) / planes * 2 * radius - radius
    outlines = [
        np.column_stack([circle(np.sqrt(radius**2 - z**2)), np.full(400, z + 12.2)])
        for z in heights
    ]
    positions, groups = by_plane(outlines[::-1])
    assert positions == sorted(positions)
    areas = [plane_shares(group, (20, 20)) for group in groups]
    shares = stacked_shares(positions, areas, 25)
    assert shares.sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert shares.max() <= 1
    centre = np.tensordot(shares.sum(axis=(0, 1)), np.arange(25), 1) / shares.sum()
    assert centre == pytest.approx(12.2, abs=0.05)


def test_outlines_of_one_slice_whose_coordinates_were_rounded_are_of_one_plane() -> None:
    ring = [(circle(7), 0.0), (circle(3), 0.01)]
    outlines = [
        np.column_stack([outline, np.full(len(outline), k + off)])
        for k in range(4, 8)
        for outline, off in ring
    ]
    positions, groups = by_plane(outlines)
    assert positions == [4, 5, 6, 7]
    shares = stacked_shares(positions, [plane_shares(group, (20, 20)) for group in groups], 12)
    assert shares.sum() == pytest.approx(4 * np.pi * (49 - 9), rel=0.01)


def test_a_gap_between_planes_stays_a_gap() -> None:
    area = np.ones((1, 1))
    shares = stacked_shares([1.0, 2.0, 4.0, 5.0, 9.0, 10.0], [area] * 6, 12)
    np.testing.assert_allclose(shares[0, 0], [0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0])


def test_a_single_plane_stands_for_one_slice() -> None:
    np.testing.assert_allclose(stacked_shares([2.0], [np.ones((1, 1))], 5)[0, 0], [0, 0, 1, 0, 0])


def test_planes_that_are_all_far_apart_stand_for_one_slice_each() -> None:
    shares = stacked_shares([2.0, 8.0], [np.ones((1, 1))] * 2, 12, longest=3.0)
    np.testing.assert_allclose(shares[0, 0], np.eye(12)[[2, 8]].sum(axis=0))
    parts = stacked_shares([1.0, 7.0, 7.5, 8.0], [np.ones((1, 1))] * 4, 12, longest=3.0)
    assert parts.sum() == pytest.approx(4 * 0.5)
