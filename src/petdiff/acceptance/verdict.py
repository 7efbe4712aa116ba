"""Conclude from an acceptance test, at each dose, whether the model is better than the filter.

The patients are the sample. The verdict is based on PSNR against the full-dose scan: on Student's
confidence interval of the mean difference over patients. Other figures are shown only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from petdiff.acceptance.measure import FILTER, MODEL, ScanFigures
from petdiff.evaluation.statistics import MIN_PATIENTS, paired

Judgement = Literal["better", "not told apart", "worse", "no verdict"]


class Difference(BaseModel):
    """Model minus filter over `n` patients; no interval for fewer than two."""

    model_config = ConfigDict(frozen=True)
    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Verdict(BaseModel):
    """The verdict at one dose.

    psnr_db     PSNR, higher is better
    peak_error  relative absolute error of SUVpeak of hot spots, lower is better
    wins        number of patients for whom the model has the higher PSNR
    """

    model_config = ConfigDict(frozen=True)
    drf: float
    judgement: Judgement
    psnr_db: Difference
    peak_error: Difference
    wins: int


def conclude(scans: Sequence[ScanFigures], drf: float) -> Verdict:
    """Return the verdict at one dose over the scans that are not excluded."""
    gains = _differences(scans, drf, _psnr)
    psnr = _difference(gains)
    judgement: Judgement = "no verdict"
    if psnr.n >= MIN_PATIENTS and psnr.low is not None and psnr.high is not None:
        judgement = "better" if psnr.low > 0 else "worse" if psnr.high < 0 else "not told apart"
    return Verdict(
        drf=drf,
        judgement=judgement,
        psnr_db=psnr,
        peak_error=_difference(_differences(scans, drf, _peak_error)),
        wins=sum(gain > 0 for gain in gains),
    )


def mean_of(scan: ScanFigures, drf: float, method: str, metric: str) -> float | None:
    """Return a scan's figure as mean over its regions; None if it has none."""
    values = values_of(scan, drf, method, metric)
    return float(np.mean(values)) if values else None


def values_of(scan: ScanFigures, drf: float, method: str, metric: str) -> list[float]:
    """Return a scan's figures of one metric, one per region."""
    return [
        figure.value
        for figure in scan.figures
        if (figure.drf, figure.method, figure.metric) == (drf, method, metric)
    ]


def _psnr(scan: ScanFigures, drf: float, method: str) -> float | None:
    return mean_of(scan, drf, method, "psnr_db")


def _peak_error(scan: ScanFigures, drf: float, method: str) -> float | None:
    values = values_of(scan, drf, method, "suv_peak_bias")
    return float(np.mean(np.abs(values))) if values else None


def _differences(
    scans: Sequence[ScanFigures],
    drf: float,
    figure: Callable[[ScanFigures, float, str], float | None],
) -> list[float]:
    found = []
    for scan in scans:
        model, other = figure(scan, drf, MODEL), figure(scan, drf, FILTER)
        if model is not None and other is not None:
            found.append(model - other)
    return found


def _difference(values: Sequence[float]) -> Difference:
    if len(values) < 2:
        return Difference(n=len(values), mean=values[0] if values else None)
    interval = paired(np.zeros(len(values)), values).mean
    return Difference(n=len(values), mean=interval.value, low=interval.low, high=interval.high)
