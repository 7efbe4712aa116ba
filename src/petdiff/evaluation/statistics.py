"""Statistics: confidence intervals, paired tests, limits of agreement, multiple tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from petdiff.errors import UsageError

Values = NDArray[np.float64]

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
# A two-sided signed-rank test of n patients has p >= 2^(1 - n): with five patients no difference is
# significant, and confidence intervals are not reliable.
MIN_PATIENTS = 6
_RESAMPLES, _GROUP_RESAMPLES = 2000, 1000


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def limited(self, least: float, most: float) -> Interval:
        """Return the interval without what lies outside the range of possible values.

        Student's interval of a few shares may reach beyond 0 and 1.
        """
        return Interval(self.value, max(self.low, least), min(self.high, most))


@dataclass(frozen=True)
class Paired:
    """Test minus reference over patients.

    mean           difference, with Student's interval
    wilcoxon_p     of the signed-rank test, which is robust to outliers; without zeros
    rank_biserial  (W+ - W-) / (W+ + W-): 1 if all differences are positive (Kerby 2014)
    """

    n: int
    mean: Interval
    wilcoxon_p: float
    rank_biserial: float


@dataclass(frozen=True)
class Agreement:
    """Bias and limits of agreement, each with its confidence interval (Bland & Altman 1999)."""

    n: int
    bias: Interval
    lower: Interval
    upper: Interval


def bootstrap(values: ArrayLike, *, generator: np.random.Generator) -> Interval:
    """Return the mean with its 95 % bootstrap interval (BCa: Efron 1987), computed by scipy.

    Equal values (within rounding) give an interval of width 0. Raises UsageError for fewer than two
    values.
    """
    sample = _sample(values)
    value = float(sample.mean())
    if np.ptp(sample) <= 1e-12 * abs(value):
        return Interval(value, value, value)
    found = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=generator,
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def grouped_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: Sequence[str],
    *,
    generator: np.random.Generator,
) -> tuple[float, float] | None:
    """Return a 95 % percentile bootstrap interval of a statistic of cases in groups.

    statistic  called with the indices of the drawn cases; may return NaN
    groups     the group (patient) of each case. Groups are drawn, because the cases of a group are
               not independent

    None for fewer than MIN_PATIENTS groups, because the interval would be too narrow, or if all
    draws give NaN.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < MIN_PATIENTS:
        return None
    cases = [np.flatnonzero(group_of == n) for n in range(len(names))]
    draws = generator.integers(len(names), size=(_GROUP_RESAMPLES, len(names)))
    values = np.array([statistic(np.concatenate([cases[n] for n in drawn])) for drawn in draws])
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def paired(reference: ArrayLike, test: ArrayLike) -> Paired:
    """Compare two methods on the same patients.

    Raises UsageError for fewer than two patients, or lists of different lengths.
    """
    difference = _difference(reference, test)
    n, mean, sd = len(difference), float(difference.mean()), float(difference.std(ddof=1))
    half_width = _students_factor(n) * sd / np.sqrt(n)
    changed = difference[difference != 0]
    ranks = stats.rankdata(np.abs(changed))
    signed = float((ranks * np.sign(changed)).sum() / ranks.sum()) if changed.size else 0.0
    return Paired(
        n=n,
        mean=Interval(mean, mean - half_width, mean + half_width),
        wilcoxon_p=float(stats.wilcoxon(changed).pvalue) if changed.size else 1.0,
        rank_biserial=signed,
    )


def bland_altman(reference: ArrayLike, test: ArrayLike, *, percent: bool = False) -> Agreement:
    """Return bias and 95 % limits of agreement of test against reference, with 95 % intervals.

    percent  in per cent of the reference, for a reference that is the truth

    The limits' variance is s²(1/n + z²/(2(n - 1))) (Bland & Altman 1999, 2.2, before rounding).
    """
    difference = _difference(reference, test)
    if percent:
        if np.any(np.asarray(reference) == 0):
            raise UsageError("a reference of 0 has no per cent: compare the differences themselves")
        difference = 100 * difference / np.asarray(reference, float)
    n, bias, sd = len(difference), float(difference.mean()), float(difference.std(ddof=1))
    z = float(stats.norm.ppf(0.975))
    t = _students_factor(n)
    bias_half_width = t * sd / np.sqrt(n)
    limit_half_width = t * sd * np.sqrt(1 / n + z**2 / (2 * (n - 1)))
    lower, upper = bias - z * sd, bias + z * sd
    return Agreement(
        n=n,
        bias=Interval(bias, bias - bias_half_width, bias + bias_half_width),
        lower=Interval(lower, lower - limit_half_width, lower + limit_half_width),
        upper=Interval(upper, upper - limit_half_width, upper + limit_half_width),
    )


def holm(p_values: ArrayLike) -> Values:
    """Adjust p-values for multiple tests (Holm 1979), which limits the family-wise error rate."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    stepped = (len(p) - np.arange(len(p))) * p[order]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def _students_factor(n: int) -> float:
    """Return half the width of Student's interval of a mean of n values, in standard errors."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))


def _difference(reference: ArrayLike, test: ArrayLike) -> Values:
    a, b = np.asarray(reference, float), np.asarray(test, float)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(f"paired values of shapes {a.shape} and {b.shape}: give one list each")
    return _sample(b - a)


def _sample(values: ArrayLike) -> Values:
    sample = np.asarray(values, float)
    if sample.ndim != 1 or len(sample) < 2:
        raise UsageError(f"values of shape {sample.shape}: give a list of two or more")
    if not np.isfinite(sample).all():
        raise UsageError("a value is not finite: leave out such cases and report how many")
    return sample
