"""`petdiff evaluate COHORT.toml`: every method on every scan, the rows, the summary, the page."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petdiff.progress import Progress
from petdiff.records import run_record
from petdiff.runs import whole_file, write_json

if TYPE_CHECKING:
    from petdiff.evaluation.cohort.stored import Done

_SUMMARY_SEED = 0
COLUMNS = ("patient", "scanner", "tracer", "dose", "method", "metric", "region", "value", "unit")


def evaluate_cohort(
    file: Path, output: Path, *, workers: int | None = None, quiet: bool = False
) -> list[Path]:
    """Write rows.csv, lesions.csv, summary.json and report.html into `output`; return their paths.

    lesions.csv is written for cohorts with `lesions` only. What a stopped run has done is kept in
    `output`, and the same call goes on from there.

    workers  processes (default: one for each core)

    Raises UsageError for a file that is no cohort's and for a folder that is another run's.
    """
    import os

    import numpy as np

    from petdiff.evaluation.cohort.definition import identity, read_cohort
    from petdiff.evaluation.cohort.run import run_cohort
    from petdiff.evaluation.cohort.summary import summarise, training_patients
    from petdiff.evaluation.cohort.table import tabulate
    from petdiff.evaluation.detection.lesion_summary import Row, summarise_lesions
    from petdiff.report.comparison import write_comparison

    cohort = read_cohort(file)
    progress = Progress(quiet)
    with progress.stage("scans") as tick:
        done = run_cohort(
            cohort,
            output,
            workers=workers or os.cpu_count() or 1,
            progress=tick,
            notify=progress.say,
        )
    with progress.stage("summary"):
        with whole_file(output / "rows.csv", replace=True) as unfinished:
            _write_csv(unfinished, COLUMNS, _figures(done))
        table = tabulate(done, list(cohort.methods))
        generator = np.random.default_rng(_SUMMARY_SEED)
        summary = summarise(
            table, cohort.claims, generator=generator, trained_on=training_patients(done)
        )
        for warning in summary.warnings:
            progress.say(f"warning {warning}")
        record = run_record(cohort=identity(cohort), seconds=progress.seconds)
        with whole_file(output / "summary.json", replace=True) as unfinished:
            write_json(unfinished, summary.model_dump(mode="json") | record)
        readings = [reading for one in done for reading in one.readings]
        lesions = summarise_lesions(readings, generator=np.random.default_rng(_SUMMARY_SEED))
        if lesions:
            with whole_file(output / "lesions.csv", replace=True) as unfinished:
                _write_csv(unfinished, Row._fields, lesions)
    page = output / "report.html"
    with (
        progress.stage("page"),
        progress.optional(page),
        whole_file(page, replace=True) as unfinished,
    ):
        write_comparison(unfinished, cohort, table, summary, lesions, done, name=file.name)
    names = ("rows.csv", *(["lesions.csv"] if lesions else []), "summary.json", "report.html")
    return [output / name for name in names if name not in progress.missing]


def _figures(done: Sequence[Done]) -> Iterator[tuple[Any, ...]]:
    for one in done:
        about = (one.unit.patient, one.unit.scanner, one.unit.tracer)
        for dose, *row in one.rows:
            yield *about, f"{dose:g}", *row


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
