"""Summarise the readings of many scans: lost lesions and invented foci by method and dose.

Full-dose scans have false foci too, so they are the reference. Detected lesions are compared at an
equal rate of false foci, not at an equal threshold. Confidence intervals resample patients, because
the lesions and scans of one patient are not independent. Thresholds and observers are those of all
patients in each resample, so that the intervals lack the uncertainty of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import UsageError
from petdiff.evaluation.detection.foci import MIN_SCORE
from petdiff.evaluation.detection.froc import froc
from petdiff.evaluation.detection.lesion_study import CONTRAST_BINS, SIZE_BINS, Reading
from petdiff.evaluation.detection.observers import auc, cross_validated
from petdiff.evaluation.statistics import grouped_interval

FALSE_PER_SCAN = 1.0
ALL = "all"
_FULL = ("full", 1.0)

Values = NDArray[np.float64]
Statistic = Callable[[NDArray[np.intp]], float]


class LesionRow(NamedTuple):
    """One figure of one method at one dose, with its 95 % interval if it has one.

    n  number of lesions; for the area, false and invented foci: number of scans
    """

    method: str
    dose: float
    metric: str
    stratum: str
    n: int
    value: float
    low: float | None
    high: float | None


def summarise_lesions(
    readings: Sequence[Reading], *, generator: np.random.Generator
) -> list[LesionRow]:
    """Return rows for all methods and the full-dose scan; none without lesions.

    froc_area      mean sensitivity up to one false focus per scan
    miss_rate      fraction of lesions not found, at the method's threshold for one false focus per
                   scan; of all lesions, and of each size and contrast
    lost_rate      fraction of the lesions found at full dose that the method does not find, each
                   at its own threshold
    gained_rate    fraction of the lesions not found at full dose that the method finds
    false_foci     per scan, at the threshold of the full-dose scan; `invented_foci`: those that
                   the full-dose scan does not have either
    hotelling_auc  of an observer trained on the other patients; only with enough patients
    """
    if not any(reading.lesions for reading in readings):
        return []
    groups = {key: list(group) for key, group in groupby(sorted(readings, key=_key), key=_key)}
    full = {reading.scan: reading for reading in groups[_FULL]}
    full_threshold = _threshold(groups[_FULL])
    found_at_full_dose = {
        scan: np.array(one.lesions) >= full_threshold for scan, one in full.items()
    }
    rows = []
    for (method, dose), group in groups.items():
        patients = [reading.patient for reading in group]
        for metric, stratum, n, statistic in _metrics(group, found_at_full_dose, full_threshold):
            if not n:
                continue
            value = statistic(np.arange(len(group)))
            ends = grouped_interval(statistic, patients, generator=generator) or (None, None)
            rows.append(LesionRow(method, dose, metric, stratum, n, value, *ends))
    return rows


def _metrics(
    group: Sequence[Reading],
    found_at_full_dose: dict[str, NDArray[np.bool_]],
    full_threshold: float,
) -> Iterator[tuple[str, str, int, Statistic]]:
    """Yield metric, stratum, n, and a function of the drawn readings that gives the metric."""
    threshold = _threshold(group)
    missed = [np.array(one.lesions, float) < threshold for one in group]
    found_before = [found_at_full_dose[one.scan] for one in group]
    every = [np.ones(len(m), bool) for m in missed]

    def share(of: Sequence[NDArray[np.bool_]], among: Sequence[NDArray[np.bool_]]) -> Statistic:
        counted = np.array([(a & b).sum() for a, b in zip(of, among, strict=True)])
        whole = np.array([b.sum() for b in among])
        return lambda drawn: _ratio(counted[drawn].sum(), whole[drawn].sum())

    def rate(counts: Sequence[int]) -> Statistic:
        return lambda drawn: float(np.array(counts)[drawn].mean())

    def area(drawn: NDArray[np.intp]) -> float:
        lesions = [group[n].lesions for n in drawn]
        if not any(lesions):
            return float("nan")
        return froc(lesions, [group[n].false for n in drawn]).area(FALSE_PER_SCAN)

    false, invented = (
        rate([sum(score >= full_threshold for score in getattr(one, name)) for one in group])
        for name in ("false", "invented")
    )
    scans = len(group)
    yield "froc_area", ALL, scans, area
    yield "miss_rate", ALL, _count(every), share(missed, every)
    for size, contrast in product(SIZE_BINS, CONTRAST_BINS):
        here = [
            (np.array(one.sizes, str) == size) & (np.array(one.contrasts, str) == contrast)
            for one in group
        ]
        yield "miss_rate", f"{size}, {contrast}", _count(here), share(missed, here)
    yield "lost_rate", ALL, _count(found_before), share(missed, found_before)
    not_before = [~b for b in found_before]
    yield "gained_rate", ALL, _count(not_before), share([~m for m in missed], not_before)
    yield "false_foci", ALL, scans, false
    yield "invented_foci", ALL, scans, invented
    observer_auc = _observer_auc(group)
    if observer_auc is not None:
        yield "hotelling_auc", ALL, _count(every), observer_auc


def _observer_auc(group: Sequence[Reading]) -> Statistic | None:
    """Return the AUC of a Hotelling observer; None for too few patients to train it."""
    patients = [one.patient for one in group for _ in one.present]
    if not patients:
        return None
    present, absent = (
        np.array([outputs for one in group for outputs in getattr(one, name)])
        for name in ("present", "absent")
    )
    try:
        scores = cross_validated(present, absent, patients)
    except UsageError:
        return None
    ends = np.cumsum([len(one.present) for one in group])[:-1]
    with_lesion, without = (np.split(of_all, ends) for of_all in scores)

    def statistic(drawn: NDArray[np.intp]) -> float:
        a, b = (np.concatenate([scores[n] for n in drawn]) for scores in (with_lesion, without))
        return auc(a, b) if a.size else float("nan")

    return statistic


def _threshold(group: Sequence[Reading]) -> float:
    """Return the lowest threshold with at most one false focus per scan.

    It is just above the score of the first focus too many; the detector's own threshold if there
    are fewer.
    """
    false = np.sort(np.concatenate([np.array(one.false) for one in group]))[::-1]
    allowed = int(FALSE_PER_SCAN * len(group))
    return float(np.nextafter(false[allowed], np.inf)) if len(false) > allowed else MIN_SCORE


def _key(reading: Reading) -> tuple[str, float]:
    return reading.method, reading.dose


def _count(masks: Sequence[NDArray[np.bool_]]) -> int:
    return sum(int(mask.sum()) for mask in masks)


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
