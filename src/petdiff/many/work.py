"""Denoise one scan of many. Errors become the status of the scan."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import JsonValue

from petdiff.data.fingerprint import scan_fingerprint
from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.disk import described
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.frames import mean_image
from petdiff.inference.run_record import RunRecord, ScanFacts, read_run_record
from petdiff.io.scan_search import RECORD
from petdiff.many.jobs import Job
from petdiff.many.result_location import ResultLocation
from petdiff.many.rows import ScanRow, compared_settings, read_row, stamp, store_row
from petdiff.methods.model import Model, load_model
from petdiff.report.index_page import Status
from petdiff.report.notices import (
    activity_notices,
    alarm_notices,
    audit_notices,
    repetition_notices,
    unit_notices,
)
from petdiff.terminal import one_line


@dataclass(frozen=True)
class Task:
    """A job for a process that loads the model itself.

    output  folder of all results
    sha256  of the model's file, which must be the same in every process
    """

    job: Job
    output: Path
    sha256: str


def denoise_task(task: Task) -> ScanRow:
    """Denoise a scan in any process, which loads the model once."""
    model = _model(task.job.request.model)
    if model.sha256 != task.sha256:
        raise PetdiffError(
            f"the model {task.job.request.model} is a different file on this machine: use the same "
            "file on all machines"
        )
    return denoise_job(task.job, task.output, model)


@cache
def _model(name: str) -> Model:
    return load_model(name)


def denoise_job(job: Job, output: Path, model: Model) -> ScanRow:
    """Denoise a scan and write its status, which is also returned.

    An existing result is kept if settings and scan are the same; otherwise it is replaced.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    asked = compared_settings(job.request.run_options(), model.sha256)
    now = stamp(job.request)
    try:
        location = ResultLocation.of(job, output)
        location.clear()
        record = _current_record(job.request, location, asked)
        seconds = None if record is None else sum(record.seconds.values())
        record = record or _denoise(job.request, location, model)
        row = _row(job.name, location, record).model_copy(update={"asked": asked, "stamp": now})
    except Exception as problem:
        before = read_row(output, job.name)
        if before is not None and before.is_done and (before.asked, before.stamp) == (asked, now):
            return before  # another process was faster
        seconds = None
        row = _failed_row(job.name, problem, asked)
    taken = time.perf_counter() - start if seconds is None else seconds
    cpu = time.process_time() - cpu_start
    row = row.model_copy(update={"seconds": round(taken, 3), "cpu_seconds": round(cpu, 3)})
    store_row(output, row)
    return row


def _current_record(
    request: Request, location: ResultLocation, asked: dict[str, JsonValue]
) -> RunRecord | None:
    """Return the record of the existing result if it has these settings and this scan.

    The scan is compared by its voxels and facts, so that copied files, or changes in other lines of
    a table beside it, do not cause a new computation.
    """
    if not location.is_taken:
        return None
    try:
        record = read_run_record(location.file(RECORD))
    except InputRefused:
        return None
    if compared_settings(record.options, record.denoising.model.sha256) != asked:
        return None
    scan = request.read()
    facts = ScanFacts.of(mean_image(scan), scan_fingerprint(scan))
    now = ScanFacts.model_validate_json(facts.model_dump_json())  # as in a record
    return record if now == record.input else None


def _denoise(request: Request, location: ResultLocation, model: Model) -> RunRecord:
    if not location.is_taken:
        return denoise_scan(request, location.folder, model=model).record
    if location.bids is not None:
        with location.set_aside():
            return denoise_scan(request, location.folder, model=model).record
    record = denoise_scan(request, location.new, model=model).record
    location.replace_by_new()
    return record


def _row(name: str, location: ResultLocation, record: RunRecord) -> ScanRow:
    scan = record.input
    missing = [f"{file} could not be made: {why}" for file, why in record.missing.items()]
    found = (
        *alarm_notices(record.alarm),
        *repetition_notices(scan),
        *audit_notices(record.audit),
        *activity_notices(record.activity),
        *unit_notices(scan),
    )
    warnings = (*found, *scan.suv.warnings, *scan.warnings, *missing)
    return ScanRow(
        scan=name,
        status="denoised",
        change=record.activity.relative_change,
        warnings=warnings,
        record=location.relative(RECORD),
        page=location.relative("report.html"),
        picture=location.relative("preview.png"),
    )


def _failed_row(name: str, problem: Exception, asked: dict[str, JsonValue]) -> ScanRow:
    status: Status = "refused" if isinstance(problem, InputRefused | UsageError) else "failed"
    reason = str(problem)
    if isinstance(problem, MemoryError):
        reason = "out of memory: take a coarser `voxel_mm`, or fewer scans at once"
    elif not isinstance(problem, PetdiffError):
        reason = described(problem)
    return ScanRow(scan=name, status=status, reason=one_line(reason), asked=asked)
