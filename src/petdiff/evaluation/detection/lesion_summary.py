"""Lesions lost, foci invented: what the readings of many scans say of each method at each dose.

How many false foci a full-dose scan has anyway is the zero point, and lesions count as lost at an
equal rate of false foci, not at an equal threshold. Intervals draw patients: neither the lesions of
one patient nor the scans of one are independent.
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


class Row(NamedTuple):
    """One number of one method at one dose, with its 95 % interval where it has one.

    n  what it is of: lesions, or scans for false and invented foci and for the area
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
    readings: Sequence[Reading],
    *,
    generator: np.random.Generator,
    false_per_scan: float = FALSE_PER_SCAN,
    resamples: int = 1000,
) -> list[Row]:
    """Return rows that sum up readings, the full-dose ones among them; none without lesions.

    froc_area      mean sensitivity up to `false_per_scan` false foci a scan
    miss_rate      share of the lesions not found, at the threshold that gives the method so many
                   false foci; of all, and of each size and contrast
    lost_rate      share of the lesions found at full dose that are not found, each at its threshold
    gained_rate    the reverse
    false_foci     a scan, at the threshold of the full-dose scan (what a reader used to full dose
                   would be shown); `invented_foci`: those that full dose does not show either
    hotelling_auc  of an observer that has learnt from the other patients; not where they are few
    """
    if not any(reading.lesions for reading in readings):
        return []
    groups = {key: list(group) for key, group in groupby(sorted(readings, key=_key), key=_key)}
    full = {reading.scan: reading for reading in groups[_FULL]}
    usual = _threshold(groups[_FULL], false_per_scan)
    at_full = {scan: np.array(one.lesions) >= usual for scan, one in full.items()}
    rows = []
    for (method, dose), group in groups.items():
        patients = [reading.patient for reading in group]
        for metric, stratum, n, statistic in _measured(group, at_full, usual, false_per_scan):
            if not n:
                continue
            value = statistic(np.arange(len(group)))
            ends = grouped_interval(
                statistic, patients, generator=generator, resamples=resamples
            ) or (None, None)
            rows.append(Row(method, dose, metric, stratum, n, value, *ends))
    return rows


def _measured(
    group: Sequence[Reading],
    at_full: dict[str, NDArray[np.bool_]],
    usual: float,
    false_per_scan: float,
) -> Iterator[tuple[str, str, int, Statistic]]:
    """Yield metric, stratum, n, and the metric as a function of the readings that are drawn."""
    threshold = _threshold(group, false_per_scan)
    missed = [np.array(one.lesions, float) < threshold for one in group]
    before = [at_full[one.scan] for one in group]
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
        return froc(lesions, [group[n].false for n in drawn]).area(false_per_scan)

    false, invented = (
        rate([sum(score >= usual for score in getattr(one, name)) for one in group])
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
    yield "lost_rate", ALL, _count(before), share(missed, before)
    not_before = [~b for b in before]
    yield "gained_rate", ALL, _count(not_before), share([~m for m in missed], not_before)
    yield "false_foci", ALL, scans, false
    yield "invented_foci", ALL, scans, invented
    seen = _observed(group)
    if seen is not None:
        yield "hotelling_auc", ALL, _count(every), seen


def _observed(group: Sequence[Reading]) -> Statistic | None:
    """Return the observer's AUC; None where the patients are too few to learn from."""
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


def _threshold(group: Sequence[Reading], false_per_scan: float) -> float:
    """Return the lowest threshold with so many false foci per scan at most.

    It lies just above the first focus too many, and is the detector's own where there are fewer.
    """
    false = np.sort(np.concatenate([np.array(one.false) for one in group]))[::-1]
    allowed = int(false_per_scan * len(group))
    return float(np.nextafter(false[allowed], np.inf)) if len(false) > allowed else MIN_SCORE


def _key(reading: Reading) -> tuple[str, float]:
    return reading.method, reading.dose


def _count(masks: Sequence[NDArray[np.bool_]]) -> int:
    return sum(int(mask.sum()) for mask in masks)


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
