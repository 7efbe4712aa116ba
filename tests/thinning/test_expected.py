"""The expected noise: means over lines, against closed forms of a cylinder."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from petdiff.thinning.expected import DIRECTIONS, expected_noise, measured_lines
from petdiff.thinning.noise_map import second_differences, without_anatomy

MM = (8.0, 8.0, 8.0)
SHAPE = (48, 48, 3)
RADIUS_MM = 150.0
WATER_PER_MM = 0.0096


def cylinder() -> NDArray[np.bool_]:
    i, j, _ = (np.indices(SHAPE) - np.array([23.5, 23.5, 1]).reshape(3, 1, 1, 1)) * 8.0
    return np.asarray(np.hypot(i, j) < RADIUS_MM)


def mean_left(at_mm: float) -> float:
    """Mean of exp(-µL) over the lines through a point of the cylinder, by its chords."""
    angles = (np.arange(3600) + 0.5) * np.pi / 3600
    chords = 2 * np.sqrt(RADIUS_MM**2 - np.square(at_mm * np.sin(angles)))
    return float(np.exp(-WATER_PER_MM * chords).mean())


def test_sensitivity_is_the_mean_share_of_pairs_that_leave_the_body() -> None:
    body = cylinder()
    sensitivity = measured_lines(body.astype(np.float32), body, MM).sensitivity
    for step in (0, 8, 14):
        found = sensitivity[23 + step : 25 + step, 23:25, 1].mean()
        assert found == pytest.approx(mean_left(8.0 * step), rel=0.06)


def test_information_falls_with_the_activity_that_lines_cross() -> None:
    body = cylinder()
    cold, hot = body.astype(np.float32), body.astype(np.float32)
    hot[10:16, 20:28] = 9.0
    information = [
        measured_lines(activity, body, MM).information.mean(axis=0)
        for activity in (cold, 2 * cold, hot)
    ]
    np.testing.assert_allclose(information[1], information[0] / 2, rtol=1e-4)
    beside = information[2][16, 24, 1] / information[0][16, 24, 1]
    far = information[2][40, 24, 1] / information[0][40, 24, 1]
    assert beside < 0.6
    assert beside < 0.7 * far


def test_lines_along_the_longest_way_through_an_oblique_body_have_the_least_information() -> None:
    """Lines at an angle a run along (cos a, -sin a)."""
    i, j, _ = (np.indices(SHAPE) - np.array([23.5, 23.5, 1]).reshape(3, 1, 1, 1)) * 8.0
    angle = np.pi / 6
    along, across = i * np.cos(angle) - j * np.sin(angle), i * np.sin(angle) + j * np.cos(angle)
    body = (along / 170) ** 2 + (across / 90) ** 2 < 1
    information = measured_lines(body.astype(np.float32), body, MM).information[:, 24, 24, 1]
    least = int(information.argmin())
    assert least * np.pi / DIRECTIONS == pytest.approx(angle)
    assert information[(least + DIRECTIONS // 2) % DIRECTIONS] > 5 * information[least]


def test_expected_noise_does_not_depend_on_the_unit_and_has_the_median_one() -> None:
    body = cylinder()
    activity = np.where(body, 1.0, 0.01).astype(np.float32)
    activity[20:28, 30:36] = 5.0
    relative = expected_noise(activity, body, measured_lines(activity * body, body, MM))
    assert np.median(relative[body]) == pytest.approx(1, rel=1e-5)
    lines = measured_lines(1000 * activity * body, body, MM)
    np.testing.assert_allclose(expected_noise(1000 * activity, body, lines), relative, rtol=1e-4)
    assert relative[24, 24, 1] > 1.2 * relative[8, 24, 1]  # deep tissue is noisier


def test_a_level_is_lowered_by_its_anatomy_where_noise_is_weak_and_voxels_are_large() -> None:
    small, large = (3.0, 3.0, 3.0), (6.0, 6.0, 6.0)
    assert without_anatomy(0.05, small) == pytest.approx(0.05)
    assert without_anatomy(0.5, large) == pytest.approx(0.5)
    assert without_anatomy(0.05, large) == pytest.approx(0.05 * (0.05 / 0.33) ** 0.114)
    middle = math.sqrt(0.05 * without_anatomy(0.05, large))
    assert without_anatomy(0.05, (4.5, 4.5, 4.5)) == pytest.approx(middle)


def test_second_differences_leave_the_known_share_of_white_noise() -> None:
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    inner = second_differences(noise, (6.0, 6.0, 6.0))[2:-2, 2:-2, 2:-2]
    assert inner.std() == pytest.approx((3 / 8) ** 1.5, rel=0.03)
