"""`petdiff evaluate`: compare one scan with a reference."""

from __future__ import annotations

from pathlib import Path

from petdiff.evaluation.evaluate import evaluate
from petdiff.evaluation.pair import Pair, figures_by_scan, read_pair, write_rows
from petdiff.progress import Progress
from petdiff.records import RunFacts
from petdiff.report.evaluation_tables import tables
from petdiff.runs import whole_folder, write_json


def evaluate_pair(pair: Pair, output: Path, *, quiet: bool = False) -> str:
    """Write metrics.json and metrics.csv into the new folder `output`; returns tables as text.

    If the low-dose scan is given, it and its best Gaussian filter are measured as well. Raises
    InputRefused where the scans are not on one grid, all lesions lie outside it, or the reference
    is empty.
    """
    progress = Progress(quiet)
    with whole_folder(output) as folder:
        with progress.stage("reading"):
            content = read_pair(pair, progress.print)
        evaluation = evaluate(
            content.test,
            content.reference,
            low=content.low,
            labels=content.labels,
            names=content.names,
            lesions=content.lesions,
            stage=progress.stage,
        )
        record = {
            "files": pair.files(),
            "resampled": pair.resample,
            "units": pair.units,
            "suv_factor": pair.suv_factor,
            "results": figures_by_scan(evaluation),
        }
        facts = RunFacts(seconds=progress.seconds).model_dump(mode="json")
        write_json(folder / "metrics.json", record | facts)
        write_rows(folder / "metrics.csv", evaluation.rows)
    return tables(evaluation.rows)
