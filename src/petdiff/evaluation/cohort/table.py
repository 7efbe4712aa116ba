"""The table of a cohort: one value per metric, method, patient and condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.data.layouts import NOT_STATED, Drf, in_order
from petdiff.evaluation.cohort.compared_metrics import METRICS
from petdiff.evaluation.cohort.definition import FULL_DOSE
from petdiff.evaluation.cohort.stored import FinishedExam

Values = NDArray[np.float64]


class Condition(NamedTuple):
    """Scanner, tracer and dose of a scan; `dose` is the dose reduction factor."""

    scanner: str
    tracer: str
    dose: Drf


@dataclass(frozen=True, eq=False)
class Table:
    """The metrics of a cohort; NaN for missing values.

    values  by metric, [method, patient, condition]
    """

    methods: tuple[str, ...]
    patients: tuple[str, ...]
    conditions: tuple[Condition, ...]
    values: dict[str, Values]

    @cached_property
    def doses(self) -> tuple[Drf, ...]:
        return tuple(in_order({condition.dose for condition in self.conditions}))

    def of(self, metric: str, method: str, keep: Callable[[Condition], bool]) -> Values:
        """Return the mean of each patient over the conditions of `keep`; NaN without values."""
        chosen = [n for n, condition in enumerate(self.conditions) if keep(condition)]
        return nan_mean(self.values[metric][self.methods.index(method)][:, chosen])


def tabulate(done: Sequence[FinishedExam], methods: Sequence[str]) -> Table:
    """Return the table of a cohort's exams."""
    patients = tuple(dict.fromkeys(one.exam.patient for one in done))
    found: dict[tuple[str, str, str, Condition], list[float]] = {}
    for one in done:
        for row in one.rows:
            metric = _metric_of(row.metric)
            if metric is None or row.method == FULL_DOSE or row.value is None:
                continue
            condition = Condition(one.exam.scanner, one.exam.tracer, row.dose)
            key = (metric, row.method, one.exam.patient, condition)
            found.setdefault(key, []).append(row.value)
            if metric == "lesion_suv_peak_bias":
                error = ("lesion_suv_peak_error", row.method, one.exam.patient, condition)
                found.setdefault(error, []).append(abs(row.value))
    conditions = tuple(dict.fromkeys(key[3] for key in found))
    shape = (len(methods), len(patients), len(conditions))
    values = {metric.name: np.full(shape, np.nan) for metric in METRICS}
    for (metric, method, patient, condition), numbers in found.items():
        index = methods.index(method), patients.index(patient), conditions.index(condition)
        values[metric][index] = np.mean(numbers)
    return Table(tuple(methods), patients, conditions, values)


def nan_mean(values: Values) -> Values:
    """Return the mean of finite values over the last axis; NaN, without a warning, if none."""
    known = np.isfinite(values)
    sums = np.where(known, values, 0).sum(axis=-1)
    counts = known.sum(axis=-1)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def at_dose(dose: Drf) -> Callable[[Condition], bool]:
    """Return a function that tells whether a condition has this dose."""
    return lambda condition: condition.dose == dose


def fraction(dose: Drf) -> str:
    """Return a dose as text: 1/20."""
    return NOT_STATED if dose is None else f"1/{dose:g}"


def _metric_of(metric: str) -> str | None:
    if metric == "suv_peak_bias":  # only lesions have SUVpeak
        return "lesion_suv_peak_bias"
    if metric == "cov_30mm_sphere":
        return "liver_cov"
    names = {one.name for one in METRICS}
    return metric if metric in names else None
