"""`petdiff simulate`: virtual patients, scanned at full and at low dose, with the truth beside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from petdiff.cluster.connection import connected
from petdiff.disk import remove
from petdiff.errors import UsageError
from petdiff.image import PETImage
from petdiff.io import write
from petdiff.progress import Progress, Tick
from petdiff.records import RunFacts
from petdiff.runs import whole_folder, write_json
from petdiff.simulation.scan_record import ScanRecord, read_record
from petdiff.simulation.study import Simulation, rescan, simulate


@dataclass(frozen=True)
class Study:
    """What was asked for, as on the command line; None is what was not said.

    again  the scan.json of the patient to scan again
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


def simulate_patients(
    study: Study, output: Path, *, cluster: str | None = None, quiet: bool = False
) -> list[Path]:
    """Write one patient's scans into the new folder `output`, or several into folders below it.

    cluster  local, local:N or the address of a Dask scheduler, to simulate several at once

    Returns the folders. All of it appears whole or not at all.
    """
    record = None if study.again is None else _record(study, study.again)
    progress = Progress(quiet)
    first = study.seed or 0
    with whole_folder(output) as folder:
        if study.patients == 1:
            if cluster is not None:
                raise UsageError(f"`cluster` {cluster} is for several `patients`: leave it out")
            _simulate_patient(study, record, first, folder, progress)
            return [Path(output)]
        names = [f"patient_{n:04d}" for n in range(study.patients)]
        if cluster is not None:
            pieces = [_Piece(study, first + n, folder / name) for n, name in enumerate(names)]
            _simulate_on_cluster(pieces, cluster, progress)
            return [Path(output) / name for name in names]
        for n, name in enumerate(names):
            (folder / name).mkdir()
            progress.say(f"patient {n + 1} of {study.patients}, seed {first + n}")
            _simulate_patient(study, None, first + n, folder / name, progress)
    return [Path(output) / name for name in names]


@dataclass(frozen=True)
class _Piece:
    """A patient for a process of a cluster."""

    study: Study
    seed: int
    folder: Path


def _simulate_on_cluster(pieces: list[_Piece], address: str, progress: Progress) -> None:
    with (
        connected(address, progress.say, shared=pieces[0].folder.parent) as cluster,
        progress.stage("patients") as tick,
    ):
        finished = cluster.finished(_simulate_piece, pieces)
        for done, (piece, outcome) in enumerate(finished, start=1):
            if outcome is not None:
                raise type(outcome)(f"the patient of seed {piece.seed}: {outcome}")
            tick(done, len(pieces))


def _simulate_piece(piece: _Piece) -> None:
    remove(piece.folder)  # what a process that died has left there
    piece.folder.mkdir()
    _simulate_patient(piece.study, None, piece.seed, piece.folder, Progress(quiet=True))


def _record(study: Study, path: Path) -> ScanRecord:
    """Read the record to scan again; UsageError where the options ask for another patient."""
    record = read_record(path)
    for option, given, recorded in (
        ("--tracer", study.tracer, record.patient.tracer),
        ("--seed", study.seed, record.seed),
    ):
        if given not in (None, recorded):
            raise UsageError(
                f"{option} {given} contradicts --from {path}, whose patient has {recorded}: leave "
                "it out, or simulate a new patient without --from"
            )
    if study.patients != 1:
        raise UsageError(f"--patients {study.patients} contradicts --from {path}, which is of one")
    if study.names is not None:
        raise UsageError(f"--names contradicts --from {path}, which has the names: leave it out")
    return record


def _simulate_patient(
    study: Study, record: ScanRecord | None, seed: int, folder: Path, progress: Progress
) -> None:
    progress.missing.clear()  # of the patient before
    progress.say(f"drawing and painting the patient of seed {seed}; the scan follows")
    with progress.stage("scan", hint="larger voxels (--voxel-size) are faster") as tick:
        simulation = _simulation(study, record, seed, tick)
    _tell(simulation, progress)
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


def _simulation(study: Study, record: ScanRecord | None, seed: int, tick: Tick) -> Simulation:
    given = {
        name: value
        for name in ("scanner", "dose_factors", "voxel_mm", "extent", "labels")
        if (value := getattr(study, name)) is not None
    }
    if record is not None:
        return rescan(record, lesions=study.lesions, progress=tick, **given)
    if study.tracer is not None:
        given["tracer"] = study.tracer
    return simulate(seed, lesions=study.lesions, names=study.names, progress=tick, **given)


def _tell(simulation: Simulation, progress: Progress) -> None:
    patient, labels = simulation.patient, simulation.record.labels
    who = patient.sex if labels is None else f"anatomy of {Path(labels.path).name}"
    progress.say(
        f"{who}, {patient.weight_kg:.0f} kg, {patient.injected_mbq:.0f} MBq {patient.tracer}, "
        f"{len(patient.lesions)} lesions · {simulation.scanner.label}"
    )
    if simulation.unknown_labels:
        told = ", ".join(f"{label} {name}" for label, name in simulation.unknown_labels.items())
        progress.say(f"labels not known, taken as soft tissue: {told}")


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
