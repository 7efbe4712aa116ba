"""Run an acceptance test. Each scan has a file of figures, so that a stopped run can resume."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from petdiff.acceptance.measure import (
    PreparedScan,
    ScanFigures,
    measure_scan,
    prepare_scan,
    without_names,
)
from petdiff.acceptance.phantom import PhantomRow, measure_phantom_scan
from petdiff.acceptance.plan import Plan, ScanFiles, find_scans, identity
from petdiff.acceptance.suitable import noise_warnings, require_one_scanner
from petdiff.acceptance.verdict import Verdict, conclude
from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.statistics import MIN_PATIENTS
from petdiff.io import read_static
from petdiff.methods.model import Model, load_model
from petdiff.progress import Progress
from petdiff.runs import begin_or_resume, is_empty, remove_unfinished, whole_file, write_json
from petdiff.units import counted

IDENTITY, ROWS = "acceptance.json", "rows"


@dataclass(frozen=True, eq=False)
class Acceptance:
    """The result of an acceptance test.

    model     its name; sha256: of its weights
    scans     all scans; those with `refused` are excluded
    verdicts  one per dose
    phantom   one row per dose and method; empty without a phantom
    warnings  reasons why the verdicts may be wrong, as sentences
    """

    plan: Plan
    model: str
    sha256: str
    scans: Sequence[ScanFigures]
    verdicts: Sequence[Verdict]
    phantom: Sequence[PhantomRow] = ()
    warnings: Sequence[str] = field(default=())

    @property
    def taken(self) -> list[ScanFigures]:
        """The scans that are not excluded."""
        return [scan for scan in self.scans if not scan.refused]


def accept(plan: Plan, output: str | Path, *, progress: Progress | None = None) -> Acceptance:
    """Test a model on full-dose scans of one scanner, thinned to lower doses.

    output    folder of the results. It keeps the figures of a stopped run, and the same call
              resumes
    progress  prints messages; None: none are printed

    Raises UsageError for the folder of another run, InputRefused if all scans are excluded, if they
    come from several scanners, or if the phantom's spheres are not found.
    """
    progress = progress or Progress(quiet=True)
    folder = Path(output)
    model = load_model(plan.model)
    files = find_scans(plan.scans)
    _begin(folder, dict(identity(plan, files, model.sha256)))
    phantom: list[PhantomRow] = []
    if plan.phantom is not None:
        with progress.stage("phantom"):
            image = read_static(plan.phantom, units=plan.units, suv_factor=plan.suv_factor)
            phantom = measure_phantom_scan(image, plan, model)
    scans = _measure_scans(files, plan, model, folder / ROWS, progress)
    taken = [scan for scan in scans if not scan.refused]
    if not taken:
        raise InputRefused(f"none of the {len(scans)} scans can take part: {scans[0].refused}")
    verdicts = [conclude(taken, drf) for drf in plan.doses]
    name = Path(model.name).name
    warnings = _warnings(scans, model)
    for warning in warnings:
        progress.print(f"warning {warning}")
    return Acceptance(plan, name, model.sha256, scans, verdicts, phantom, warnings)


def _begin(folder: Path, now: dict[str, object]) -> None:
    """Prepare the folder of a new test, or of one to resume if its identity is the same."""
    path = folder / IDENTITY
    if not path.exists() and folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise UsageError(f"{folder} exists and has no acceptance test: name another, or remove it")
    begin_or_resume(path, now)
    (folder / ROWS).mkdir(exist_ok=True)
    remove_unfinished(folder / ROWS)


def _measure_scans(
    files: Sequence[ScanFiles], plan: Plan, model: Model, rows: Path, progress: Progress
) -> list[ScanFigures]:
    """Return the figures of each scan, stored or measured now.

    rows  folder of the stored figures
    """
    row_files = [rows / f"{one.number:03d}.json" for one in files]
    stored = [_stored_figures(file) for file in row_files]
    new = [one for one, figures in zip(files, stored, strict=True) if figures is None]
    scans: list[ScanFigures] = []
    with (
        progress.stage("scans", hint="fewer scans or doses, or a GPU, are faster") as tick,
        closing(_prepared(new, plan)) as prepared,
    ):
        for one, file, figures in zip(files, row_files, stored, strict=True):
            tick(len(scans), len(files))
            if figures is None:
                figures = _measured_figures(one, next(prepared), plan, model, scans)
                if figures.refused:
                    progress.print(f"{one.name} takes no part: {figures.refused}")
                with whole_file(file) as unfinished:
                    write_json(unfinished, figures)
            scans.append(figures)
            require_one_scanner({scan.name: scan.scanner for scan in scans})
    return scans


def _stored_figures(file: Path) -> ScanFigures | None:
    """Return the stored figures of a scan; None if it has not been measured."""
    if not file.exists():
        return None
    try:
        return ScanFigures.model_validate_json(file.read_bytes())
    except ValidationError:
        raise InputRefused(
            f"{file} is damaged: remove it, and the same command measures the scan again"
        ) from None


def _prepared(
    files: Sequence[ScanFiles], plan: Plan
) -> Generator[Future[PreparedScan], None, None]:
    """Yield each scan's preparation. The next scan is prepared while one is measured."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(prepare_scan, one, plan) for one in files[:1]]
        for one in files[1:]:
            ahead.append(pool.submit(prepare_scan, one, plan))
            yield ahead.pop(0)
        yield from ahead


def _measured_figures(
    files: ScanFiles,
    prepared: Future[PreparedScan],
    plan: Plan,
    model: Model,
    before: Sequence[ScanFigures],
) -> ScanFigures:
    """Measure a scan; an excluded scan is returned with the reason in `refused`.

    before  the scans measured so far; a copy of one of them is excluded
    """
    try:
        scan = prepared.result()
        if same := [one.name for one in before if one.voxels == scan.voxels]:
            raise InputRefused(f"it is the same scan as {same[0]}")
        return measure_scan(scan, plan, model)
    except InputRefused as problem:
        return ScanFigures(name=files.name, refused=without_names(str(problem), files.scan))


def _warnings(scans: Sequence[ScanFigures], model: Model) -> list[str]:
    """Return reasons why the verdicts may be wrong: one line per reason and scan."""
    taken = [scan for scan in scans if not scan.refused]
    found = [f"{scan.name} takes no part: {scan.refused}" for scan in scans if scan.refused]
    found += [
        f"{scan.name}: the model was trained on it, so that its figures are better than on a new "
        "patient: leave it out"
        for scan in taken
        if scan.voxels in model.card.training_patients
    ]
    found += [f"{scan.name}: {warning}" for scan in taken for warning in scan.warnings]
    noise = {s.name: s.noise_at_10_mm for s in taken if s.noise_at_10_mm is not None}
    found += [f"{name}: {why}" for name, why in noise_warnings(noise).items()]
    if len(taken) < MIN_PATIENTS:
        found.append(
            f"{counted(len(taken), 'scan')} took part, and a verdict needs {MIN_PATIENTS}: figures "
            "only"
        )
    if not any(scan.scanner for scan in taken):
        found.append("no scan names its scanner: it is not checked that all are from one scanner")
    return found
