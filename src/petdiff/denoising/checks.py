"""Checks of a run: whether the model knows such scans, and whether the data support the result.

Neither changes the result; where a check cannot be made, a line says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.progress import Progress
from petdiff.uncertainty.alarm.record import AlarmRecord
from petdiff.uncertainty.alarm.reference import alarm, load_reference
from petdiff.uncertainty.audit.compare import audit
from petdiff.uncertainty.audit.record import AuditRecord

if TYPE_CHECKING:
    from petdiff.methods.model import Model


class Checks(NamedTuple):
    """What the checks found; None where there was none."""

    alarm: AlarmRecord | None
    audit: AuditRecord | None


def alarm_of(scan: PETImage, model: Model, progress: Progress) -> AlarmRecord | None:
    """Return how unlike the model's ordinary scans a scan is; None where the model has none."""
    from petdiff.methods.model import weights_path

    reference = load_reference(weights_path(model.name), model.sha256)
    if reference is None:
        return None
    found = alarm(scan, reference)
    if found.alarm:
        progress.print(f"warning this scan is {found.sentence}")
    return found


def audit_of(measured: PETImage, denoised: PETImage, progress: Progress) -> AuditRecord | None:
    """Return the audit of a result, or None after a warning that says why there is none."""
    try:
        return audit(measured, denoised).record
    except InputRefused as problem:
        progress.print(f"warning no audit: {problem}")
        return None
