"""Conformal quantiles: ranks, coverage by simulation, and agreement with two other libraries."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.uncertainty.calibration.conformal import (
    Bounds,
    bounds,
    central_range,
    fewest_patients,
    quantile,
    rank,
)


def one_each(values: np.ndarray) -> list[np.ndarray]:
    return [np.array([value]) for value in values]


@pytest.mark.parametrize(
    ("patients", "level", "expected"), [(9, 0.9, 9), (19, 0.9, 18), (10, 0.9, 10), (99, 0.99, 99)]
)
def test_rank_is_that_of_the_exact_decimal_level(
    patients: int, level: float, expected: int
) -> None:
    assert rank(patients, level) == expected


def test_too_few_patients_have_no_bound() -> None:
    assert quantile(one_each(np.arange(8.0)), 0.9) is None
    assert quantile(one_each(np.arange(9.0)), 0.9) == 8.0
    assert quantile([], 0.5) is None


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_fewest_patients_is_the_least_number_with_bounds(level: float) -> None:
    n = fewest_patients(level)
    assert bounds(one_each(np.arange(float(n))), level, Bounds(-1, 1)) is not None
    assert bounds(one_each(np.arange(float(n - 1))), level, Bounds(-1, 1)) is None


def test_a_patient_counts_once_however_often_it_was_measured() -> None:
    rng = np.random.default_rng(0)
    once = one_each(rng.normal(size=39))
    often = [np.repeat(one, 1 + n) for n, one in enumerate(once)]
    assert quantile(often, 0.9) == quantile(once, 0.9)


def test_patients_without_a_measurement_do_not_count() -> None:
    assert quantile([*one_each(np.arange(8.0)), np.array([])], 0.9) is None


def test_sides_are_the_plain_quantiles_of_patients_with_one_error_each() -> None:
    values = np.random.default_rng(5).normal(size=999)
    low, high = central_range(one_each(values), 0.8)
    expected = np.quantile(values, [0.1, 0.9], method="inverted_cdf")
    np.testing.assert_allclose([low, high], expected)


def test_no_side_is_empty_even_where_all_errors_are_on_the_other() -> None:
    low, high = central_range(one_each(np.linspace(1, 10, 50)), 0.9)
    assert low == pytest.approx(-high / 10)
    assert central_range(one_each(np.zeros(5)), 0.9) == (-1, 1)


def test_bounds_follow_the_side_on_which_errors_are_large() -> None:
    errors = one_each(np.concatenate([np.linspace(0, 10, 60), np.linspace(-1, 0, 39)]))
    found = bounds(errors, 0.9, Bounds(-0.5, 5))
    assert found is not None
    assert -1 <= found.lower < 0
    assert 8 < found.upper <= 10


def test_bounds_of_a_symmetric_shape_are_those_of_the_absolute_error() -> None:
    errors = np.random.default_rng(6).normal(size=40)
    found = bounds(one_each(errors), 0.9, Bounds(-2, 2))
    assert found is not None
    assert found.upper == pytest.approx(quantile(one_each(np.abs(errors)), 0.9))
    assert found.lower == -found.upper


def test_coverage_over_patients_is_that_of_theory() -> None:
    """Coverage of one error each is rank / (n + 1) on average, as a beta distribution's mean."""
    rng = np.random.default_rng(1)
    n, level, tries = 19, 0.9, 4000
    calibration, new = rng.exponential(size=(tries, n)), rng.exponential(size=tries)
    held = [value <= (quantile(one_each(row), level) or 0) for row, value in zip(
        calibration, new, strict=True
    )]  # fmt: skip
    expected = rank(n, level) / (n + 1)
    assert abs(np.mean(held) - expected) < 5 * np.sqrt(expected * (1 - expected) / tries)


def test_coverage_holds_where_patients_differ_and_have_unequal_numbers_of_lesions() -> None:
    rng = np.random.default_rng(2)

    def patient() -> np.ndarray:
        lesions = int(rng.integers(1, 12))
        return np.asarray(rng.normal(rng.normal(scale=2), 0.1 + lesions / 6, size=lesions))

    tries, level, held = 1500, 0.8, 0
    for _ in range(tries):
        found = bounds([patient() for _ in range(24)], level, Bounds(-1, 2))
        assert found is not None
        held += found.lower <= rng.choice(patient()) <= found.upper
    assert level - 0.04 < held / tries < level + 0.08


@pytest.mark.oracle
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_quantile_is_that_of_mapie(level: float) -> None:
    regression = pytest.importorskip("mapie.regression", reason="the extra `oracle` is missing")
    from sklearn.dummy import DummyRegressor

    truth = np.random.default_rng(3).normal(size=57)
    nothing = np.zeros((57, 1))
    always_0 = DummyRegressor(strategy="constant", constant=0.0).fit(nothing, truth)
    mapie = regression.SplitConformalRegressor(always_0, confidence_level=level, prefit=True)
    mapie.conformalize(nothing, truth)
    _, intervals = mapie.predict_interval(nothing[:1])
    assert quantile(one_each(np.abs(truth)), level) == pytest.approx(intervals[0, 1, 0], abs=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_quantile_is_that_of_crepes(level: float) -> None:
    crepes = pytest.importorskip("crepes", reason="the extra `oracle` is missing")
    residuals = np.random.default_rng(4).normal(size=57)
    regressor = crepes.ConformalRegressor().fit(residuals=residuals)
    intervals = regressor.predict_int(y_hat=np.zeros(1), confidence=level)
    ours = quantile(one_each(np.abs(residuals)), level)
    assert ours == pytest.approx(intervals[0, 1], abs=1e-12)
