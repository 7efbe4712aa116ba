"""The free-response curve against counts done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.errors import UsageError
from petdiff.evaluation.detection.froc import froc

LESIONS = [[9.0, 4.0], [7.0, -np.inf], []]
FALSE = [[5.0], [6.0, 3.0], [2.0]]


def test_curve_counted_by_hand() -> None:
    curve = froc(LESIONS, FALSE)
    np.testing.assert_array_equal(curve.threshold, [np.inf, 9, 7, 6, 5, 4, 3, 2])
    np.testing.assert_allclose(curve.false_per_scan * 3, [0, 0, 0, 1, 2, 2, 3, 4])
    np.testing.assert_allclose(curve.sensitivity * 4, [0, 1, 2, 2, 2, 3, 3, 3])
    # Half of the lesions up to 2/3 of a false focus, three quarters from there to 1.
    assert curve.area(1.0) == pytest.approx(0.5 * 2 / 3 + 0.75 / 3)
    assert curve.area(2 / 3) == pytest.approx(0.5)
    assert curve.area(10.0) == pytest.approx((0.5 * 2 / 3 + 0.75 * (10 - 2 / 3)) / 10)


def test_ties_are_taken_in_together() -> None:
    """A lesion and a false focus of one score: no threshold finds the one without the other."""
    curve = froc([[5.0]], [[5.0]])
    np.testing.assert_array_equal(curve.false_per_scan, [0, 1])
    np.testing.assert_array_equal(curve.sensitivity, [0, 1])
    assert curve.area(1.0) == 0


def test_perfect_and_blind_detectors() -> None:
    assert froc([[3.0, 4.0]], [[1.0, 2.0]]).area(1.0) == 1
    assert froc([[-np.inf]], [[1.0]]).area(1.0) == 0
    assert froc([[2.0]], [[]]).area(1.0) == 1


def test_chance_gives_the_area_of_its_closed_form() -> None:
    """Scores uniform on lesions and, a per scan, on false foci: sensitivity f/a, area F/2a."""
    rng = np.random.default_rng(0)
    lesions = [rng.uniform(size=20) for _ in range(400)]
    false = [rng.uniform(size=4) for _ in range(400)]
    assert froc(lesions, false).area(4.0) == pytest.approx(0.5, abs=0.02)
    assert froc(lesions, false).area(2.0) == pytest.approx(0.25, abs=0.02)


def test_only_the_order_of_scores_counts() -> None:
    cubed = froc([np.power(one, 3) for one in LESIONS], [np.power(one, 3) for one in FALSE])
    assert cubed.area(1.0) == froc(LESIONS, FALSE).area(1.0)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UsageError, match="no scan has a lesion"):
        froc([[], []], [[1.0], []])
    with pytest.raises(UsageError, match="of every scan"):
        froc([[1.0]], [[1.0], []])
    with pytest.raises(UsageError, match="more than 0"):
        froc([[1.0]], [[]]).area(0)
