"""`petdiff evaluate COHORT.toml`: every method on every scan, the rows, the summary, the page."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from petdiff.evaluation.cohort.definition import identity, read_cohort
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.evaluation.cohort.stored import Done
from petdiff.evaluation.cohort.summary import summarise, training_patients
from petdiff.evaluation.cohort.table import tabulate
from petdiff.evaluation.detection.lesion_summary import Row, summarise_lesions
from petdiff.progress import Progress
from petdiff.records import RunFacts
from petdiff.report.comparison import write_comparison
from petdiff.runs import whole_file, write_json

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
        table = tabulate(done, list(cohort.methods))
        generator = np.random.default_rng(_SUMMARY_SEED)
        summary = summarise(
            table, cohort.claims, generator=generator, trained_on=training_patients(done)
        )
        for warning in summary.warnings:
            progress.say(f"warning {warning}")
        readings = [reading for one in done for reading in one.readings]
        lesions = summarise_lesions(readings, generator=np.random.default_rng(_SUMMARY_SEED))
        facts = RunFacts(seconds=progress.seconds).model_dump(mode="json")
        content = summary.model_dump(mode="json") | {"cohort": identity(cohort)} | facts
        tables = _write_tables(output, done, content, lesions)
    page = output / "report.html"
    with (
        progress.stage("page"),
        progress.optional(page),
        whole_file(page, replace=True) as unfinished,
    ):
        write_comparison(unfinished, cohort, table, summary, lesions, done, name=file.name)
    return [*tables, *([] if page.name in progress.missing else [page])]


def _write_tables(
    folder: Path, done: Sequence[Done], summary: Mapping[str, object], lesions: Sequence[Row]
) -> list[Path]:
    """Write rows.csv, lesions.csv where there are lesions, and summary.json; return their paths."""
    written = [folder / "rows.csv"]
    with whole_file(written[0], replace=True) as unfinished:
        _write_csv(unfinished, COLUMNS, _figures(done))
    if lesions:
        written.append(folder / "lesions.csv")
        with whole_file(written[-1], replace=True) as unfinished:
            _write_csv(unfinished, lesions[0]._fields, lesions)
    written.append(folder / "summary.json")
    with whole_file(written[-1], replace=True) as unfinished:
        write_json(unfinished, summary)
    return written


def _figures(done: Sequence[Done]) -> Iterator[tuple[object, ...]]:
    for one in done:
        about = (one.unit.patient, one.unit.scanner, one.unit.tracer)
        for dose, *row in one.rows:
            yield *about, f"{dose:g}", *row


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
