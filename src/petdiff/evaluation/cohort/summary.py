"""Summarise a cohort: means with confidence intervals, paired tests, and results of claims.

The patients are the sample: values of one patient are averaged over scanners, tracers and doses,
and intervals and tests use these averages. They are valid for similar patients on these scanners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from pydantic import BaseModel

from petdiff.data.layouts import dose_key
from petdiff.evaluation.cohort.claims import ClaimResult, check_claims
from petdiff.evaluation.cohort.compared_metrics import METRICS, Metric
from petdiff.evaluation.cohort.definition import Claim
from petdiff.evaluation.cohort.stored import FinishedExam
from petdiff.evaluation.cohort.table import Table, Values, at_dose
from petdiff.evaluation.statistics import MIN_PATIENTS, bootstrap, holm, paired

OVERALL = "overall"
MIN_BOOTSTRAP_PATIENTS = 15  # with fewer, a bootstrap interval is too narrow: Student's is used


class Mean(BaseModel, frozen=True):
    """A mean over `n` patients with its 95 % interval; None: not known."""

    n: int
    mean: float | None
    low: float | None
    high: float | None


class PairTest(BaseModel, frozen=True):
    """`method` minus `against` over `n` patients: mean difference with its interval, and tests.

    For a bias, absolute values are compared. holm_p is corrected over all pairs of one metric and
    dose.
    """

    method: str
    against: str
    n: int
    difference: float
    low: float
    high: float
    wilcoxon_p: float
    holm_p: float
    rank_biserial: float


class MetricTitle(BaseModel, frozen=True):
    """A metric's title and unit."""

    title: str
    unit: str


class Summary(BaseModel, frozen=True):
    """All results of a cohort.

    means  by metric, dose ("overall": all doses) and method
    tests  by metric and dose; pairs of methods with at least MIN_PATIENTS common patients
    training_patients  patients that a method's model was trained on, by method
    """

    patients: int
    conditions: int
    scans: int
    methods: list[str]
    metrics: dict[str, MetricTitle]
    means: dict[str, dict[str, dict[str, Mean]]]
    tests: dict[str, dict[str, list[PairTest]]]
    claims: list[ClaimResult]
    training_patients: dict[str, list[str]] = {}

    @property
    def warnings(self) -> list[str]:
        """Reasons why figures may be wrong, as sentences."""
        return [
            f"{method} was trained on {len(names)} of these {self.patients} patients: its figures "
            "are better than on new patients. Leave those patients out of the comparison."
            for method, names in self.training_patients.items()
        ]


def training_patients(done: Sequence[FinishedExam]) -> dict[str, list[str]]:
    """Return, by method, the patients that its model was trained on; only methods with some."""
    found: dict[str, list[str]] = {}
    for one in done:
        for method in one.trained_on:
            names = found.setdefault(method, [])
            if one.exam.patient not in names:
                names.append(one.exam.patient)
    return found


def summarise(
    table: Table,
    claims: Sequence[Claim] = (),
    *,
    generator: np.random.Generator,
    trained_on: Mapping[str, Sequence[str]] | None = None,
) -> Summary:
    """Summarise a table by condition and metric, and test the claims on it.

    generator   draws the bootstrap's samples
    trained_on  the result of `training_patients`
    """
    slots = [(OVERALL, lambda _: True), *((dose_key(dose), at_dose(dose)) for dose in table.doses)]
    means: dict[str, dict[str, dict[str, Mean]]] = {}
    tests: dict[str, dict[str, list[PairTest]]] = {}
    for metric in METRICS:
        means[metric.name], tests[metric.name] = {}, {}
        for slot, keep in slots:
            by_method = {m: table.of(metric.name, m, keep) for m in table.methods}
            means[metric.name][slot] = {
                method: _mean(values, metric, generator) for method, values in by_method.items()
            }
            tests[metric.name][slot] = list(_tests(by_method, metric))
    return Summary(
        patients=len(table.patients),
        conditions=len(table.conditions),
        scans=int(np.isfinite(table.values["nrmse"][0]).sum()),
        methods=list(table.methods),
        metrics={m.name: MetricTitle(title=m.title, unit=m.unit) for m in METRICS},
        means=means,
        tests=tests,
        claims=check_claims(table, claims),
        training_patients={name: list(found) for name, found in (trained_on or {}).items()},
    )


def _tests(by_method: dict[str, Values], metric: Metric) -> Iterator[PairTest]:
    """Test each pair of methods; for a bias, absolute values."""
    pairs, results = [], []
    for first, second in combinations(by_method, 2):
        a, b = by_method[first], by_method[second]
        if metric.better == 0:
            a, b = np.abs(a), np.abs(b)
        both = np.isfinite(a) & np.isfinite(b)
        if both.sum() >= MIN_PATIENTS:
            pairs.append((first, second))
            results.append(paired(a[both], b[both]))
    adjusted = holm([result.wilcoxon_p for result in results]) if results else np.empty(0)
    for (first, second), result, p in zip(pairs, results, adjusted, strict=True):
        yield PairTest(
            method=second,
            against=first,
            n=result.n,
            difference=result.mean.value,
            low=result.mean.low,
            high=result.mean.high,
            wilcoxon_p=result.wilcoxon_p,
            holm_p=float(p),
            rank_biserial=result.rank_biserial,
        )


def _mean(values: Values, metric: Metric, generator: np.random.Generator) -> Mean:
    known = values[np.isfinite(values)]
    n = len(known)
    if n < MIN_PATIENTS:
        return Mean(n=n, mean=float(known.mean()) if n else None, low=None, high=None)
    uses_student = n < MIN_BOOTSTRAP_PATIENTS
    interval = (
        paired(np.zeros(n), known).mean if uses_student else bootstrap(known, generator=generator)
    )
    interval = interval.limited(metric.least, metric.most)
    return Mean(n=n, mean=interval.value, low=interval.low, high=interval.high)
