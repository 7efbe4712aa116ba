"""Notices for the reader of a run: unusual facts and limits, from its record."""

from __future__ import annotations

from collections.abc import Sequence

from petdiff.errors import with_scan_options
from petdiff.image import by_axis
from petdiff.inference.record import DenoisingRecord, FrameRecord, ModelUsed
from petdiff.inference.run_record import RunRecord, ScanFacts
from petdiff.io.derivation import DENOISED
from petdiff.report.trained_on import trained_on
from petdiff.uncertainty.alarm.record import AlarmRecord
from petdiff.uncertainty.audit.record import AuditRecord
from petdiff.units import counted
from petdiff.volume.activity import ActivityChange

_NOTABLE_CHANGE = 0.02
_NOTABLE_ERRORS = 4.0  # in standard errors; smaller changes may be noise
_NOTABLE_VOLUME_ML = 10.0  # in smaller regions the removal of noise changes the activity
_AIR_SUV = 0.1  # regions below it are air and noise


def notices(record: RunRecord) -> list[str]:
    """Return one sentence for each unusual fact or limit of a run, the most severe first."""
    scan, run = record.input, record.denoising
    header = [f"Header: {warning}" for warning in (*scan.suv.warnings, *scan.warnings)]
    activity, frames = activity_notices(record.activity), _frames(run.frames)
    audit = [f"{notice} The places are listed below." for notice in audit_notices(record.audit)]
    severe = [*alarm_notices(record.alarm), *repetition_notices(scan), *audit, *activity]
    found = [*severe, *frames, *unit_notices(scan), *header, *_grid(scan, run), *_model(run.model)]
    return [with_scan_options(notice) for notice in found]


def alarm_notices(alarm: AlarmRecord | None) -> list[str]:
    """Return a notice if the alarm for unusual scans was raised."""
    return [f"This scan is {alarm.sentence}."] if alarm is not None and alarm.alarm else []


def repetition_notices(scan: ScanFacts) -> list[str]:
    """Return a notice if a DICOM scan is the result of an earlier denoising."""
    if DENOISED not in (scan.image_type or ()):
        return []
    return [f"ImageType (0008,0008) has {DENOISED}: this scan was denoised before."]


def audit_notices(audit: AuditRecord | None) -> list[str]:
    """Return a notice if the result contradicts the measured scan."""
    if audit is None or not (audit.found.get("fabrication") or audit.found.get("omission")):
        return []
    return [f"Audit: the result {audit.verdict}."]


def unit_notices(scan: ScanFacts) -> list[str]:
    """Return a notice if values are not SUV, with the reason."""
    if scan.values_in == "SUV":
        return []
    return [without_suv(scan.unit, scan.values_in, scan.suv.reason)]


def without_suv(unit: str, unit_name: str, reason: str) -> str:
    """Return a sentence with the unit that values have instead of SUV, and the reason.

    unit  the stored unit; empty: not known
    """
    named = f"in {unit_name}" if unit else "as stored, in an unknown unit"
    return with_scan_options(f"All values are {named}, not in SUV: {reason}.")


def _frames(rows: Sequence[FrameRecord]) -> list[str]:
    """Return notices about frames: what is shown, empty frames, changes of activity."""
    if not rows:
        return []
    found = [
        f"Pictures and activity are those of the mean over {counted(len(rows), 'frame')}, each "
        "weighted by its duration; frames.png shows the frames' curves."
    ]
    empty = [str(row.frame) for row in rows if row.unchanged]
    if empty:
        found.append(f"Not changed, because there is no activity: frame {', '.join(empty)}.")
    changed = [
        f"{row.frame} ({row.relative_change:+.1%})"
        for row in rows
        if row.relative_change is not None and abs(row.relative_change) > _NOTABLE_CHANGE
    ]
    if changed:
        found.append(
            f"Activity changed by more than {_NOTABLE_CHANGE:.0%} in frame {', '.join(changed)}."
        )
    return found


def activity_notices(activity: ActivityChange) -> list[str]:
    """Return notices about changes of activity that are large and not explained by noise."""
    limit = f"more than the {_NOTABLE_CHANGE:.0%} that are expected"
    found = []
    whole = activity.relative_change
    if whole is not None and abs(whole) > _NOTABLE_CHANGE:
        found.append(f"Activity of the whole scan changed by {whole:+.1%}, {limit}.")
    for band in activity.by_suv:
        change, low, high = band.relative_change, band.suv_from, band.suv_to
        if change is None or (low or 0) < _AIR_SUV or band.volume_ml < _NOTABLE_VOLUME_ML:
            continue
        noise = _NOTABLE_ERRORS * (band.standard_error or 0)
        if abs(change) > max(_NOTABLE_CHANGE, noise):
            where = f"SUV {low:g} to {high:g}" if high is not None else f"SUV {low:g} and more"
            found.append(
                f"Activity of the regions of {where} ({band.volume_ml:,.0f} ml) changed by "
                f"{change:+.1%}, {limit} and more than noise explains."
            )
    return found


def _grid(scan: ScanFacts, run: DenoisingRecord) -> list[str]:
    stored, working = scan.spacing_mm, run.working_voxel_mm
    if all(abs(a - b) <= 0.01 * a for a, b in zip(sorted(stored), sorted(working), strict=True)):
        return []
    return [
        f"Denoised on voxels of {by_axis(working)} mm and resampled from and to the scan's own "
        f"{by_axis(stored)} mm."
    ]


def _model(model: ModelUsed) -> list[str]:
    found = [model.limits] if model.limits else []
    training = trained_on(model.training)
    if training.is_simulated and not found:
        found.append("The model was trained on simulated scans only; for research only.")
    elif not training.data:
        found.append("The model card does not state the training data; for research only.")
    if "NC" in model.licence.upper().split("-"):
        found.append(f"The model's licence, {model.licence}, forbids commercial use.")
    return found
