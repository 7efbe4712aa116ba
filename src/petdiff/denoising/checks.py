"""Two checks of a run: the alarm for unusual scans, and the audit of the result.

They do not change the result. If a check cannot be made, a warning states the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.methods.weights_files import weights_path
from petdiff.progress import Progress
from petdiff.uncertainty.alarm.record import AlarmRecord
from petdiff.uncertainty.alarm.reference import load_reference
from petdiff.uncertainty.audit.compare import audit
from petdiff.uncertainty.audit.record import AuditRecord

if TYPE_CHECKING:
    from petdiff.methods.model import Model


def check_alarm(
    features: Callable[[], Mapping[str, float]], model: Model, progress: Progress
) -> AlarmRecord | None:
    """Compare a scan with the scans that the model was tested on; None if it has no reference.

    features  called for the features of the scan if the model has a reference
    """
    reference = load_reference(weights_path(model.name), model.sha256)
    if reference is None:
        return None
    record = reference.compare(features())
    if record.alarm:
        progress.print(f"warning this scan is {record.sentence}")
    return record


def check_audit(measured: PETImage, denoised: PETImage, progress: Progress) -> AuditRecord | None:
    """Audit a result; None after a warning if that is not possible."""
    try:
        return audit(measured, denoised).record
    except InputRefused as problem:
        progress.print(f"warning no audit: {problem}")
        return None
