"""`petdiff evaluate COHORT.toml`: compare methods on the scans of a cohort."""

from __future__ import annotations

from pathlib import Path

from petdiff.evaluation.cohort.evaluate import evaluate_cohort
from petdiff.progress import Progress
from petdiff.report.comparison import write_comparison
from petdiff.runs import whole_file


def evaluate_cohort_file(
    file: Path,
    output: Path,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Write rows.csv, lesions.csv, summary.json and report.html into `output`; return their paths.

    lesions.csv is written for cohorts with `lesions` only. Raises as
    petdiff.evaluation.cohort.evaluate.evaluate_cohort.
    """
    progress = Progress(quiet)
    evaluation = evaluate_cohort(file, output, workers=workers, progress=progress, cluster=cluster)
    page = output / "report.html"
    with (
        progress.stage("page"),
        progress.optional(page),
        whole_file(page, replace=True) as unfinished,
    ):
        write_comparison(
            unfinished,
            evaluation.cohort,
            evaluation.table,
            evaluation.summary,
            evaluation.lesions,
            evaluation.done,
            name=file.name,
        )
    return [*evaluation.files, *([] if page.name in progress.missing else [page])]
