"""Coverage and width of a model's calibrated intervals in a scan."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from petdiff.data.layouts import Drf
from petdiff.errors import InputRefused
from petdiff.evaluation.cohort.compared_metrics import INTERVAL_LEVELS
from petdiff.evaluation.cohort.definition import ComparedMethod
from petdiff.evaluation.protocol import Case, Row
from petdiff.image import PETImage
from petdiff.uncertainty.calibration.record import Calibration, Refused, dose_facts
from petdiff.volume.regions import Volume

if TYPE_CHECKING:
    from petdiff.methods.base import Method


def interval_rows(
    compared: ComparedMethod,
    method: Method | None,
    low: PETImage,
    dose: Drf,
    suv: Volume,
    case: Case,
) -> Iterator[Row]:
    """Yield coverage and width over the body; nothing if the model has no such intervals.

    method  of the model; None for a filter
    dose    of `low`; a model that is given it has the bounds of this dose, if it was calibrated
    """
    calibration = None if method is None else _calibration(compared.model)
    if method is None or calibration is None:
        return
    from petdiff.methods.base import image_steps

    if image_steps(method, compared.samples, compared.steps) != calibration.steps:
        return
    facts = dose_facts(dose if compared.tell_dose else None)
    for percent in INTERVAL_LEVELS:
        found = calibration.voxel_intervals(
            low.suv, suv, spacing_mm=case.spacing_mm, facts=facts, level=percent / 100
        )
        if isinstance(found, Refused):
            continue
        lower, upper = (side[case.body] for side in found)
        reference = case.reference[case.body]
        is_covered = (lower <= reference) & (reference <= upper)
        yield Row(f"within_interval_{percent}", "body", float(is_covered.mean()), "1")
        if percent == 90:
            width = np.subtract(upper, lower, dtype=np.float64)
            yield Row("interval_width_90", "body", float(width.mean()), "SUV")


@cache
def _calibration(model: str) -> Calibration | None:
    """Return a model's calibration, read once per process; None if it has none."""
    from petdiff.uncertainty.intervals import calibration_of

    try:
        return calibration_of(model)
    except InputRefused:
        return None
