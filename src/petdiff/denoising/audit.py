"""The audit of a run: a result is kept whatever the audit says, and where there can be none."""

from __future__ import annotations

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.progress import Progress
from petdiff.uncertainty.audit.compare import audit
from petdiff.uncertainty.audit.record import AuditRecord


def audit_of(measured: PETImage, denoised: PETImage, progress: Progress) -> AuditRecord | None:
    """Return the audit of a result, or None after a warning that says why there is none."""
    try:
        return audit(measured, denoised).record
    except InputRefused as problem:
        progress.say(f"warning no audit: {problem}")
        return None
