"""Intervals, paired tests and agreement against closed forms, scipy and their own coverage."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from petdiff.errors import UsageError
from petdiff.evaluation.statistics import (
    Interval,
    bland_altman,
    bootstrap,
    grouped_interval,
    holm,
    paired,
)


def test_bootstrap_of_a_mean_is_close_to_students_interval() -> None:
    sample = np.random.default_rng(0).normal(3, 2, 200)
    half = stats.t.ppf(0.975, 199) * sample.std(ddof=1) / np.sqrt(200)
    generator = np.random.default_rng(1)
    found = [bootstrap(sample, generator=generator) for _ in range(10)]
    assert {one.value for one in found} == {sample.mean()}
    low, high = np.mean([(one.low, one.high) for one in found], axis=0)
    assert low == pytest.approx(sample.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(sample.mean() + half, abs=0.06 * half)


def test_bootstrap_of_equal_values_has_no_width() -> None:
    found = bootstrap([2.0, 2.0, 2.0], generator=np.random.default_rng(0))
    assert (found.low, found.high) == (2.0, 2.0)


def test_bootstrap_of_values_equal_but_for_rounding_has_no_width() -> None:
    found = bootstrap([30.0, 30.0, 30.0 + 4e-15], generator=np.random.default_rng(0))
    assert found.low == found.high == found.value


def test_paired_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(10, 2, 30)
    b = a + rng.normal(0.5, 1, 30)
    found = paired(a, b)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(b, a).pvalue)
    low, high = stats.ttest_rel(b, a).confidence_interval()
    assert (found.mean.low, found.mean.high) == pytest.approx((low, high))
    # scipy's statistic is the smaller rank sum; both add up to n(n + 1)/2.
    smaller, total = stats.wilcoxon(b, a).statistic, 30 * 31 / 2
    assert found.rank_biserial == pytest.approx((total - 2 * smaller) / total)


def test_paired_of_one_and_the_same() -> None:
    same = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.wilcoxon_p, same.rank_biserial) == (1, 0)
    shifted = paired([1.0, 2.0, 4.0], [3.0, 4.0, 6.0])
    assert (shifted.mean.value, shifted.rank_biserial) == (2, 1)
    one_the_same = paired([0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 4.0])
    assert (one_the_same.wilcoxon_p, one_the_same.rank_biserial) == (2 / 2**3, 1)


def test_interval_of_a_share_ends_at_0_and_1() -> None:
    assert Interval(0.9, -0.1, 1.2).limited(0, 1) == Interval(0.9, 0, 1)
    assert Interval(0.9, 0.8, 0.95).limited(0, 1) == Interval(0.9, 0.8, 0.95)


def test_limits_of_agreement_hold_95_percent_and_their_intervals_cover() -> None:
    rng = np.random.default_rng(3)
    n, runs, covered = 40, 600, np.zeros(3)
    truth = 0.5 + 2 * np.array([0, -stats.norm.ppf(0.975), stats.norm.ppf(0.975)])
    for _ in range(runs):
        reference = rng.normal(5, 3, n)
        found = bland_altman(reference, reference + rng.normal(0.5, 2, n))
        for k, one in enumerate((found.bias, found.lower, found.upper)):
            covered[k] += one.low <= truth[k] <= one.high
    # 95 % within four standard deviations of 600 draws
    np.testing.assert_allclose(covered / runs, 0.95, atol=0.036)


def test_agreement_is_that_of_the_published_example() -> None:
    """Peak expiratory flow by two meters, in l/min (Bland & Altman, Lancet 1986;327:307, table 1).

    They give a bias of -2.1 (-22.0 to 17.8) and limits within (-114.3 to -45.1) and (40.9 to
    110.1), with 2 in place of 1.96 and 3/n as the variance of a limit.
    """
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = bland_altman(mini, wright)
    assert (found.n, found.bias.value) == (17, pytest.approx(-36 / 17))
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.06)
    spread = np.sqrt(np.square(np.subtract(wright, mini) + 36 / 17).sum() / 16)
    assert spread == pytest.approx(38.8, abs=0.05)
    half = stats.t.ppf(0.975, 16) * spread * np.sqrt(1 / 17 + 1.959964**2 / 32)
    assert half == pytest.approx((110.1 - 40.9) / 2, abs=0.3)
    for one, sign in ((found.lower, -1), (found.upper, 1)):
        limit = -36 / 17 + sign * 1.959964 * spread
        assert one.value == pytest.approx(limit)
        assert (one.low, one.high) == pytest.approx((limit - half, limit + half))


def test_agreement_in_per_cent_of_the_reference() -> None:
    found = bland_altman([10.0, 20.0, 40.0], [9.0, 18.0, 36.0], percent=True)
    assert found.bias.value == pytest.approx(-10)
    assert found.lower.value == pytest.approx(found.upper.value)
    with pytest.raises(UsageError, match="reference of 0"):
        bland_altman([0.0, 1.0], [1.0, 1.0], percent=True)


def test_holm_is_the_closure_of_bonferroni() -> None:
    """An adjusted p is the largest Bonferroni p of any set of hypotheses that holds its own."""
    p = np.random.default_rng(4).uniform(0, 0.4, 6)
    sets = [s for k in range(1, 7) for s in combinations(range(6), k)]
    closed = [max(min(1, len(s) * p[list(s)].min()) for s in sets if i in s) for i in range(6)]
    np.testing.assert_allclose(holm(p), closed)
    np.testing.assert_allclose(holm([0.01]), [0.01])


@pytest.mark.parametrize("wrong", [[1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_what_has_no_statistics_is_refused(wrong: list[float]) -> None:
    with pytest.raises(UsageError):
        bootstrap(wrong, generator=np.random.default_rng(0))
    with pytest.raises(UsageError):
        paired(wrong, wrong)


def test_grouped_interval_of_a_mean_is_that_of_the_means_of_the_groups() -> None:
    """Three cases of each of 200 groups share most of their deviation."""
    rng = np.random.default_rng(2)
    groups = [str(n // 3) for n in range(600)]
    values = np.repeat(rng.normal(size=200), 3) + 0.2 * rng.normal(size=600)
    found = [
        grouped_interval(lambda drawn: float(values[drawn].mean()), groups, generator=rng)
        for _ in range(4)
    ]
    half = stats.norm.ppf(0.975) * values.reshape(200, 3).mean(axis=1).std() / np.sqrt(200)
    # Four times 1000 draws know an end to 2 %, so this is four of those.
    low, high = np.mean(found, axis=0)
    assert (low, high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.08 * half
    )
    everyone = grouped_interval(lambda drawn: float(len(drawn)), groups, generator=rng)
    assert everyone == (600, 600)


def test_grouped_interval_of_few_groups_or_of_no_value_is_none() -> None:
    rng = np.random.default_rng(0)
    assert grouped_interval(lambda drawn: float(drawn[0]), list("abcdeee"), generator=rng) is None
    assert (
        grouped_interval(lambda drawn: float(drawn[0]), list("abcdef"), generator=rng) is not None
    )
    assert grouped_interval(lambda drawn: np.nan, list("abcdef"), generator=rng) is None
