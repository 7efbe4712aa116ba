"""One scan of many: denoised, found to be done, or refused with its reason; nothing is raised."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import JsonValue

from petdiff.data.fingerprint import scan_fingerprint
from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.frames import PETFrames
from petdiff.inference.run_record import RunRecord, ScanFacts, read_run_record
from petdiff.io.scan_search import RECORD
from petdiff.many.jobs import Job
from petdiff.many.place import Place
from petdiff.many.rows import ScanRow, asked_of, read_row, settings_of, stamp, store_row
from petdiff.methods.model import Model, load_model
from petdiff.report.index_page import Status
from petdiff.report.notices import activity_notices, audit_notices
from petdiff.terminal import one_line


@dataclass(frozen=True)
class Task:
    """A job for a process that holds no model yet.

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
            f"the model {task.job.request.model} is another file on this machine: give all "
            "machines the same"
        )
    return denoise_job(task.job, task.output, model)


@cache
def _model(name: str) -> Model:
    return load_model(name)


def denoise_job(job: Job, output: Path, model: Model) -> ScanRow:
    """Denoise a scan into its place; returns what became of it, which is kept there as well.

    A result that is there already is kept where settings and scan are the same as then; else a new
    one takes its place.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    asked = asked_of(job.request, model.sha256)
    now = stamp(job.request)
    try:
        place = Place.of(job, output)
        place.clear()
        record = _same_result(job.request, place, asked)
        seconds = None if record is None else sum(record.seconds.values())
        record = record or _denoised(job.request, place, model)
        row = _row(job.name, place, record).model_copy(update={"asked": asked, "stamp": now})
    except Exception as problem:
        before = read_row(output, job.name)
        if before is not None and before.is_done and (before.asked, before.stamp) == (asked, now):
            return before  # another process was faster
        seconds = None
        row = _row_of_failure(job.name, problem, asked)
    taken = time.perf_counter() - start if seconds is None else seconds
    cpu = time.process_time() - cpu_start
    row = row.model_copy(update={"seconds": round(taken, 3), "cpu_seconds": round(cpu, 3)})
    store_row(output, row)
    return row


def _same_result(request: Request, place: Place, asked: dict[str, JsonValue]) -> RunRecord | None:
    """Return the record of the result that is there, where it is of these settings and this scan.

    The scan is read and compared by its voxels and facts, so that a copy of its files, or a table
    beside it that changed in other lines, costs no computing.
    """
    if not place.is_taken:
        return None
    try:
        record = read_run_record(place.file(RECORD))
    except InputRefused:
        return None
    if settings_of(record.options, record.denoising.model.sha256) != asked:
        return None
    scan = request.read()
    image = scan.mean() if isinstance(scan, PETFrames) else scan
    facts = ScanFacts.of(image).model_copy(update={"fingerprint": scan_fingerprint(scan)})
    now = ScanFacts.model_validate_json(facts.model_dump_json())  # in the form of a record
    return record if now == record.input else None


def _denoised(request: Request, place: Place, model: Model) -> RunRecord:
    if not place.is_taken:
        return denoise_scan(request, place.folder, model=model).record
    if place.bids is not None:
        place.remove()
        return denoise_scan(request, place.folder, model=model).record
    record = denoise_scan(request, place.staging, model=model).record
    place.replace_by_staged()
    return record


def _row(name: str, place: Place, record: RunRecord) -> ScanRow:
    scan = record.input
    missing = [f"{file} could not be made: {why}" for file, why in record.missing.items()]
    found = (*audit_notices(record.audit), *activity_notices(record.activity))
    warnings = (*found, *scan.suv.warnings, *scan.warnings, *missing)
    return ScanRow(
        scan=name,
        status="denoised",
        change=record.activity.relative_change,
        warnings=warnings,
        record=place.relative(RECORD),
        page=place.relative("report.html"),
        picture=place.relative("preview.png"),
    )


def _row_of_failure(name: str, problem: Exception, asked: dict[str, JsonValue]) -> ScanRow:
    status: Status = "refused" if isinstance(problem, InputRefused | UsageError) else "failed"
    reason = str(problem)
    if isinstance(problem, MemoryError):
        reason = "out of memory: take a coarser `voxel_mm`, or fewer scans at once"
    elif not isinstance(problem, PetdiffError):
        reason = f"{type(problem).__name__}: {problem}"
    return ScanRow(scan=name, status=status, reason=one_line(reason), asked=asked)
