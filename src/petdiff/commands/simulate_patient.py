"""One virtual patient of `petdiff simulate`: full-dose scan, low-dose scans, true activity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from petdiff.cgroup import usable_cores
from petdiff.errors import UsageError
from petdiff.image import PETImage
from petdiff.io import write
from petdiff.progress import Progress, Tick
from petdiff.records import RunFacts
from petdiff.runs import write_json
from petdiff.simulation.scan_record import ScanRecord, read_record
from petdiff.simulation.study import (
    Simulation,
    StudySettings,
    draw_record,
    rescan,
    simulate,
)
from petdiff.units import counted


@dataclass(frozen=True)
class SimulateRequest:
    """The options of the command line; None for an option that was not given.

    again  scan.json of the patient to scan again
    """

    scanner: str | None = None
    tracer: str | None = None
    dose_factors: tuple[float, ...] | None = None
    patients: int = 1
    seed: int | None = None
    lesions: bool = True
    voxel_mm: float | None = None
    extent: str | None = None
    labels: Path | None = None
    names: Path | None = None
    again: Path | None = None


def record_to_rescan(request: SimulateRequest, path: Path) -> ScanRecord:
    """Read the record to scan again. Raises UsageError for options of another patient."""
    record = read_record(path)
    for option, given, recorded in (
        ("--tracer", request.tracer, record.patient.tracer),
        ("--seed", request.seed, record.seed),
    ):
        if given not in (None, recorded):
            raise UsageError(
                f"{option} {given} contradicts --from {path}, whose patient has {recorded}: leave "
                "it out, or simulate a new patient without --from"
            )
    if request.patients != 1:
        raise UsageError(
            f"--patients {request.patients} contradicts --from {path}, which has one patient"
        )
    if request.names is not None:
        raise UsageError(
            f"--names contradicts --from {path}, which contains the names: leave it out"
        )
    return record


def simulate_patient(
    request: SimulateRequest, record: ScanRecord | None, seed: int, folder: Path, progress: Progress
) -> None:
    """Write the scans, labels, lesions and record of one patient into an existing folder.

    record  of the patient to scan again; None: a new patient is drawn from `seed`
    """
    progress.missing.clear()  # of the patient before
    progress.print(f"drawing the patient of seed {seed}; the scan follows")
    with progress.stage("scan", hint="larger voxels (--voxel-size) are faster") as tick:
        simulation = _simulation(request, record, seed, tick)
    _print_patient(simulation, progress)
    scans = {"truth": simulation.truth, "full": simulation.full}
    scans |= {f"low_drf{factor:g}": low for factor, low in simulation.lows.items()}
    with progress.stage("writing"):
        _write(folder, simulation, scans)
    with progress.stage("picture"), progress.optional(folder / "preview.png"):
        _picture(folder / "preview.png", simulation, scans)
    content = simulation.record.model_dump(mode="json") | {
        "unknown_labels": simulation.unknown_labels,
        "prompts": simulation.prompts,
    }
    facts = RunFacts(seconds=progress.seconds, missing=progress.missing)
    write_json(folder / "scan.json", content | facts.model_dump(mode="json"))


def record_of(request: SimulateRequest, seed: int) -> ScanRecord:
    """Return the record of a new patient without simulating the scan."""
    return draw_record(seed, **_settings(request))


def _simulation(
    request: SimulateRequest, record: ScanRecord | None, seed: int, tick: Tick
) -> Simulation:
    if record is None:
        return simulate(seed, progress=tick, threads=usable_cores(), **_settings(request))
    return rescan(
        record,
        scanner=request.scanner,
        dose_factors=request.dose_factors,
        lesions=request.lesions,
        voxel_mm=request.voxel_mm,
        extent=request.extent,
        labels=request.labels,
        progress=tick,
        threads=usable_cores(),
    )


def _settings(request: SimulateRequest) -> StudySettings:
    settings: StudySettings = {
        "lesions": request.lesions,
        "voxel_mm": request.voxel_mm,
        "labels": request.labels,
        "names": request.names,
    }
    if request.scanner is not None:
        settings["scanner"] = request.scanner
    if request.tracer is not None:
        settings["tracer"] = request.tracer
    if request.dose_factors is not None:
        settings["dose_factors"] = request.dose_factors
    if request.extent is not None:
        settings["extent"] = request.extent
    return settings


def _print_patient(simulation: Simulation, progress: Progress) -> None:
    patient, labels = simulation.patient, simulation.record.labels
    who = patient.sex if labels is None else f"anatomy of {Path(labels.path).name}"
    progress.print(
        f"{who}, {patient.weight_kg:.0f} kg, {patient.injected_mbq:.0f} MBq {patient.tracer}, "
        f"{counted(len(patient.lesions), 'lesion')} · {simulation.scanner.label}"
    )
    if simulation.unknown_labels:
        labels_text = ", ".join(
            f"{label} {name}" for label, name in simulation.unknown_labels.items()
        )
        progress.print(f"labels not known, taken as soft tissue: {labels_text}")


def _write(folder: Path, simulation: Simulation, scans: dict[str, PETImage]) -> None:
    for name, image in scans.items():
        write(image, folder / f"{name}.nii.gz")
    labels = PETImage(simulation.labels.astype(np.float32), simulation.truth.affine)
    write(labels, folder / "labels.nii.gz")
    names = {str(label): name for label, name in simulation.names.items()}
    write_json(folder / "labels.json", names)
    lesions = [lesion.model_dump() for lesion in simulation.patient.lesions]
    write_json(folder / "lesions.json", {"lesions": lesions})


def _picture(path: Path, simulation: Simulation, scans: dict[str, PETImage]) -> None:
    from petdiff.report.preview import write_scans

    patient, labels = simulation.patient, simulation.record.labels
    title = (
        f"virtual patient {patient.seed} · {patient.tracer.upper()} · {simulation.scanner.label}"
    )
    note = "simulated, not a real patient"
    if labels is not None:
        note = f"simulated in the anatomy of {Path(labels.path).name}, not a real scan"
    shown = {_caption(name): image for name, image in scans.items()}
    write_scans(path, shown, title=title, note=note)


def _caption(name: str) -> str:
    return f"1/{name.removeprefix('low_drf')} dose" if name.startswith("low") else name
