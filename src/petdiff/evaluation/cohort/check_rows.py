"""Figures of a cohort from the audit of denoised scans and the alarm for unusual scans."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from petdiff.errors import InputRefused
from petdiff.evaluation.cohort.definition import MEASURED, ComparedMethod
from petdiff.evaluation.protocol import Case, Row
from petdiff.image import PETImage
from petdiff.methods.weights_files import file_sha256, weights_path
from petdiff.uncertainty.alarm.reference import Reference, alarm, load_reference
from petdiff.uncertainty.audit.compare import audit
from petdiff.uncertainty.audit.confirmation import is_confirmed
from petdiff.volume.regions import Volume


def audit_rows(compared: ComparedMethod, low: PETImage, suv: Volume, case: Case) -> Iterator[Row]:
    """Yield the number of findings of the audit of a denoised scan, and of false ones.

    A fabrication or an omission is a false alarm if the contrast of the reference there is nearer
    to that of the denoised scan than to that of the measured scan. Only the findings that the audit
    lists are checked, the 50 strongest. Yields nothing for the measured scan itself, and if the
    audit refuses the denoised scan.
    """
    if compared.model == MEASURED:
        return
    denoised, reference = low.with_values(suv), low.with_values(case.reference)
    try:
        record = audit(low, denoised).record
    except InputRefused:
        return
    for kind in ("fabrication", "omission"):
        yield Row(f"audit_{kind}s", "body", float(record.found.get(kind, 0)), "1")
    false = sum(
        one.kind != "shift" and not is_confirmed(one, low, denoised, reference)
        for one in record.findings
    )
    yield Row("audit_false_alarms", "body", float(false), "1")


def alarm_rows(compared: ComparedMethod, low: PETImage) -> Iterator[Row]:
    """Yield the alarm for scans unlike the training scans; nothing without alarm reference."""
    reference = None if compared.is_filter else _reference(compared.model)
    if reference is not None:
        found = alarm(low, reference)
        yield Row("alarms", "all", float(found.alarm), "1")
        yield Row("alarm_score", "all", found.score, "1")


@cache
def _reference(model: str) -> Reference | None:
    """Return the alarm reference of a model, read once per process; None if it has none."""
    weights = weights_path(model)
    return load_reference(weights, file_sha256(weights))
