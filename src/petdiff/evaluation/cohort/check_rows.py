"""What the audit and the alarm say of scans and answers, as figures of a cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache

from petdiff.errors import InputRefused
from petdiff.evaluation.cohort.definition import MEASURED, ComparedMethod
from petdiff.evaluation.protocol import Case, Row, Volume
from petdiff.image import PETImage
from petdiff.uncertainty.alarm.reference import Reference, alarm, load_reference
from petdiff.uncertainty.audit.compare import audit
from petdiff.uncertainty.audit.confirmation import is_confirmed


def audit_rows(
    compared: ComparedMethod, low: PETImage, answer: Volume, case: Case
) -> Iterator[Row]:
    """Yield how many findings an audit of an answer lists, and how many of them are false.

    A fabrication or an omission is a false alarm if the reference has the denoised scan's contrast
    there, not the measured scan's. Nothing is yielded for the measured scan itself, and where the
    audit refuses an answer.
    """
    if compared.model == MEASURED:
        return
    denoised, reference = low.with_values(answer), low.with_values(case.reference)
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
    """Yield whether a scan is unlike those that a model knows; nothing where no reference says."""
    reference = None if compared.is_filter else _reference(compared.model)
    if reference is not None:
        found = alarm(low, reference)
        yield Row("alarms", "all", float(found.alarm), "1")
        yield Row("alarm_score", "all", found.score, "1")


@cache
def _reference(model: str) -> Reference | None:
    """Return the reference of a model, read once per process; None where it has none."""
    from petdiff.methods.model import weights_path

    weights = weights_path(model)
    return load_reference(weights, hashlib.sha256(weights.read_bytes()).hexdigest())
