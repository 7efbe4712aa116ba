"""`petdiff accept`: an acceptance test of a model on one's own full-dose scans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from petdiff.acceptance.plan import Plan
from petdiff.acceptance.run import Acceptance, accept
from petdiff.progress import Progress
from petdiff.records import RunFacts
from petdiff.report.acceptance import verdict_text, write_acceptance
from petdiff.runs import replace_json, whole_file


def accept_scans(plan: Plan, output: Path, *, quiet: bool = False) -> Iterator[str | Path]:
    """Run the test and write summary.json and report.html; yields a line per dose and the paths."""
    progress = Progress(quiet)
    acceptance = accept(plan, output, progress=progress)
    page, summary = output / "report.html", output / "summary.json"
    with progress.stage("page"), whole_file(page, replace=True) as unfinished:
        write_acceptance(unfinished, acceptance)
    replace_json(summary, _summary(acceptance, progress))
    for verdict in acceptance.verdicts:
        yield verdict_text(verdict, acceptance)
    yield from (page, summary)


def _summary(acceptance: Acceptance, progress: Progress) -> dict[str, object]:
    facts = RunFacts(seconds=dict(progress.seconds)).model_dump(mode="json")
    return {
        "model": acceptance.model,
        "model_sha256": acceptance.sha256,
        "doses": list(acceptance.plan.doses),
        "filter_fwhm_mm": acceptance.plan.filter_fwhm_mm,
        "verdicts": [verdict.model_dump(mode="json") for verdict in acceptance.verdicts],
        "warnings": list(acceptance.warnings),
        "scans": [scan.model_dump(mode="json") for scan in acceptance.scans],
        "phantom": [row.model_dump(mode="json") for row in acceptance.phantom],
    } | facts
