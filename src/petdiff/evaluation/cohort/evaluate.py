"""Evaluate a cohort: measure every method on every scan, and write rows and summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from petdiff.cgroup import usable_cores
from petdiff.data.layouts import dose_key
from petdiff.errors import UsageError
from petdiff.evaluation.cohort.definition import Cohort, identity, read_cohort
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.evaluation.cohort.stored import FinishedExam
from petdiff.evaluation.cohort.summary import Summary, summarise, training_patients
from petdiff.evaluation.cohort.table import Table, tabulate
from petdiff.evaluation.detection.lesion_summary import LesionRow, summarise_lesions
from petdiff.progress import Progress
from petdiff.records import RunFacts
from petdiff.runs import replace_json, whole_file, write_csv

_SUMMARY_SEED = 0
COLUMNS = ("patient", "scanner", "tracer", "dose", "method", "metric", "region", "value", "unit")


@dataclass(frozen=True, eq=False)
class CohortEvaluation:
    """The results of a cohort.

    done     the exams: one per patient, scanner and tracer
    table    the figures by metric, method, patient and condition
    summary  means, intervals, tests and warnings
    lesions  rows on the detection of lesions; empty for a cohort without lesions
    files    rows.csv, lesions.csv (with lesions) and summary.json
    """

    cohort: Cohort
    done: Sequence[FinishedExam]
    table: Table
    summary: Summary
    lesions: Sequence[LesionRow]
    files: Sequence[Path]


def evaluate_cohort(
    cohort: Cohort | str | Path,
    output: str | Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    cluster: str | None = None,
) -> CohortEvaluation:
    """Measure every method of a cohort on every scan, and summarise.

    cohort    a cohort, or its TOML file
    output    folder of the results. It keeps the finished exams of a stopped run, and the same
              call resumes
    workers   number of processes; None: one for each core that may be used
    progress  prints messages; None: none are printed
    cluster   local, local:N or the address of a Dask scheduler, instead of `workers`

    Raises UsageError for a wrong cohort file and for the folder of another run.
    """
    known = cohort if isinstance(cohort, Cohort) else read_cohort(Path(cohort))
    folder, progress = Path(output), progress or Progress(quiet=True)
    if cluster is not None and workers is not None:
        raise UsageError("`workers` and `cluster` contradict each other: give one of them")
    processes = workers or usable_cores()
    with progress.stage("scans") as tick:
        done = run_cohort(
            known, folder, workers=processes, progress=tick, notify=progress.print, cluster=cluster
        )
    with progress.stage("summary"):
        table = tabulate(done, list(known.methods))
        generator = np.random.default_rng(_SUMMARY_SEED)
        summary = summarise(
            table, known.claims, generator=generator, trained_on=training_patients(done)
        )
        for warning in summary.warnings:
            progress.print(f"warning {warning}")
        readings = [reading for one in done for reading in one.readings]
        lesions = summarise_lesions(readings, generator=np.random.default_rng(_SUMMARY_SEED))
        facts = RunFacts(seconds=progress.seconds).model_dump(mode="json")
        content = summary.model_dump(mode="json") | {"cohort": identity(known)} | facts
        files = _write_tables(folder, done, content, lesions)
    return CohortEvaluation(known, done, table, summary, lesions, files)


def _write_tables(
    folder: Path,
    done: Sequence[FinishedExam],
    summary: Mapping[str, object],
    lesions: Sequence[LesionRow],
) -> list[Path]:
    """Write rows.csv, lesions.csv (with lesions) and summary.json; return their paths."""
    written = [folder / "rows.csv"]
    with whole_file(written[0], replace=True) as unfinished:
        write_csv(unfinished, COLUMNS, _figures(done))
    if lesions:
        written.append(folder / "lesions.csv")
        with whole_file(written[-1], replace=True) as unfinished:
            write_csv(unfinished, lesions[0]._fields, lesions)
    written.append(folder / "summary.json")
    replace_json(written[-1], summary)
    return written


def _figures(done: Sequence[FinishedExam]) -> Iterator[tuple[object, ...]]:
    for one in done:
        keys = (one.exam.label, one.exam.scanner, one.exam.tracer)
        for dose, *row in one.rows:
            yield *keys, dose_key(dose), *row
