"""Run an acceptance test. Each scan has a file of figures, so that a stopped run can resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from petdiff.acceptance.measure import ScanFigures, measure_files
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
    with progress.stage("scans", hint="fewer scans or doses, or a GPU, are faster") as tick:
        scans: list[ScanFigures] = []
        for one in files:
            tick(len(scans), len(files))
            scans.append(_stored_figures(one, plan, model, folder / ROWS, scans, progress))
            require_one_scanner({scan.name: scan.scanner for scan in scans})
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


def _stored_figures(
    files: ScanFiles,
    plan: Plan,
    model: Model,
    rows: Path,
    before: Sequence[ScanFigures],
    progress: Progress,
) -> ScanFigures:
    """Return the stored figures of a scan; if there are none, measure and store them.

    rows    folder of the stored figures
    before  figures of the scans before this one
    """
    file = rows / f"{files.number:03d}.json"
    if file.exists():
        try:
            return ScanFigures.model_validate_json(file.read_bytes())
        except ValidationError:
            raise InputRefused(
                f"{file} is damaged: remove it, and the same command measures the scan again"
            ) from None
    found = measure_files(files, plan, model, before)
    if found.refused:
        progress.print(f"{found.name} takes no part: {found.refused}")
    with whole_file(file) as unfinished:
        write_json(unfinished, found)
    return found


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
