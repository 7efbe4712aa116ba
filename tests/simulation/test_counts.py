"""Numbers drawn from tables have the Poisson and binomial distributions of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from petdiff.simulation.scanner import counts
from petdiff.simulation.scanner.counts import BLOCK, OUTCOMES, AliasTable, draw_poisson, draw_subset


def tabulated(table: AliasTable) -> np.ndarray:
    """Return the distributions [row, number] that a table draws from, as sums over its cells."""
    cells = table._thresholds.reshape(-1, OUTCOMES) / 2.0**counts.PROBABILITY_BITS
    offsets = table._alias_offsets.reshape(-1, OUTCOMES).astype(int)
    alias = (np.arange(OUTCOMES) + offsets) % OUTCOMES
    found = cells.copy()
    for row, (aliases, kept) in enumerate(zip(alias, cells, strict=True)):
        np.add.at(found[row], aliases, 1 - kept)
    return found / OUTCOMES


@pytest.mark.parametrize("step", [counts.COARSE, counts.FINE])
def test_tables_hold_the_poisson_distribution(step: float) -> None:
    mean = np.arange(counts.ROWS)[:, None] * step
    expected = stats.poisson.pmf(np.arange(OUTCOMES), mean)
    np.testing.assert_allclose(tabulated(counts._poisson_table(step)), expected, atol=1e-7)


@pytest.mark.parametrize("probability", [0.005, 0.25, 0.9])
def test_tables_hold_the_binomial_distribution(probability: float) -> None:
    expected = stats.binom.pmf(np.arange(OUTCOMES), np.arange(OUTCOMES)[:, None], probability)
    np.testing.assert_allclose(tabulated(counts._binomial_table(probability)), expected, atol=1e-7)


def chi_square_p_value(drawn: np.ndarray, distribution: stats.rv_discrete) -> float:
    """Return the p-value of a chi-square test over numbers that are expected at least 20 times."""
    number = np.arange(int(distribution.ppf(1e-6)), int(distribution.ppf(1 - 1e-6)) + 1)
    expected = distribution.pmf(number) * drawn.size
    observed = (drawn[:, None] == number).sum(axis=0)
    common = expected >= 20
    remainder = drawn.size - np.array([observed[common].sum(), expected[common].sum()])
    return stats.chisquare(
        np.append(observed[common], remainder[0]), np.append(expected[common], remainder[1])
    ).pvalue


@pytest.mark.parametrize("mean", [0.003, 0.3, 1.99, 7.7, 60.1, 127.9, 128.1, 900.0])
def test_numbers_are_poisson_within_and_beyond_the_tables(mean: float) -> None:
    drawn = draw_poisson(np.full((50_000, 1), mean, np.float32), np.random.default_rng(1))
    assert chi_square_p_value(drawn.ravel(), stats.poisson(mean)) > 1e-3


def test_numbers_of_different_means_follow_their_own_mean() -> None:
    mean = np.random.default_rng(0).uniform(0, 300, (2 * BLOCK + 5, 3)).astype(np.float32)
    drawn = draw_poisson(mean, np.random.default_rng(1))
    residual = (drawn - mean) / np.sqrt(mean.clip(min=1e-9))
    assert abs(residual.mean()) < 4 / np.sqrt(mean.size)
    assert residual.var() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(drawn.ravel(), mean.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("events", "probability"), [(3, 0.5), (200, 0.05), (255, 0.5), (400, 0.2)])
def test_subsets_are_binomial_within_and_beyond_the_table(events: int, probability: float) -> None:
    counts_before = np.full((50_000, 1), events, np.float32)
    kept = draw_subset(counts_before, probability, np.random.default_rng(1))
    assert chi_square_p_value(kept.ravel(), stats.binom(events, probability)) > 1e-3


def test_zero_means_and_counts_give_zero() -> None:
    zeros = np.zeros((100, 2), np.float32)
    assert not draw_poisson(zeros, np.random.default_rng(0)).any()
    assert not draw_subset(zeros, 0.5, np.random.default_rng(0)).any()


@pytest.mark.parametrize("wrong", [-0.1, np.nan])
def test_means_that_are_negative_or_nan_are_refused(wrong: float) -> None:
    mean = np.array([[1.0], [wrong]], np.float32)
    with pytest.raises(ValueError, match="0 or more"):
        draw_poisson(mean, np.random.default_rng(0))


def test_a_columns_numbers_do_not_depend_on_the_others() -> None:
    mean = np.random.default_rng(0).uniform(0, 200, (BLOCK + 7, 3)).astype(np.float32)
    together = draw_poisson(mean, [np.random.default_rng([5, k]) for k in range(3)])
    alone = draw_poisson(mean[:, 1:2], [np.random.default_rng([5, 1])])
    np.testing.assert_array_equal(together[:, 1:2], alone)
