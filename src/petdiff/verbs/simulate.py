"""`petdiff simulate`: virtual patients, scanned at full and at low dose, with the truth beside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from petdiff.image import PETImage
from petdiff.outputs import whole_folder, write_json
from petdiff.progress import Progress
from petdiff.verbs.record import run_record

if TYPE_CHECKING:
    from petdiff.clinic.study import Simulation


@dataclass(frozen=True)
class Study:
    """What was asked for, as on the command line."""

    scanner: str = "quadra"
    tracer: str = "fdg"
    dose_factors: tuple[float, ...] = (4.0, 20.0, 100.0)
    patients: int = 1
    seed: int = 0
    lesions: bool = True
    voxel_mm: float | None = None
    extent: str = "total-body"


def simulate_patients(study: Study, output: Path, *, quiet: bool = False) -> list[Path]:
    """Write one patient's scans into the new folder `output`, or several into folders below it.

    Returns the folders. All of it appears whole or not at all.
    """
    progress = Progress(quiet)
    with whole_folder(output) as folder:
        if study.patients == 1:
            _simulate_patient(study, study.seed, folder, progress)
            return [Path(output)]
        names = [f"patient_{n:04d}" for n in range(study.patients)]
        for n, name in enumerate(names):
            (folder / name).mkdir()
            progress.say(f"patient {n + 1} of {study.patients}, seed {study.seed + n}")
            _simulate_patient(study, study.seed + n, folder / name, progress)
    return [Path(output) / name for name in names]


def _simulate_patient(study: Study, seed: int, folder: Path, progress: Progress) -> None:
    from petdiff.clinic.study import simulate

    with progress.stage("scan") as tick:
        simulation = simulate(
            seed,
            scanner=study.scanner,
            tracer=study.tracer,
            dose_factors=study.dose_factors,
            lesions=study.lesions,
            voxel_mm=study.voxel_mm,
            extent=study.extent,
            progress=tick,
        )
    patient, scanner = simulation.patient, simulation.scanner
    progress.say(
        f"{patient.sex}, {patient.weight_kg:.0f} kg, {patient.injected_mbq:.0f} MBq "
        f"{study.tracer}, {len(patient.lesions)} lesions · {scanner.label}"
    )
    scans = {"truth": simulation.truth, "full": simulation.full}
    scans |= {f"low_drf{factor:g}": low for factor, low in simulation.lows.items()}
    with progress.stage("writing"):
        _write(folder, simulation, scans)
    with progress.stage("picture"):
        _picture(folder / "preview.png", simulation, seed, scans)
    record = {
        "study": asdict(study),
        "seed": seed,
        "patient": patient.model_dump(),
        "scanner": asdict(scanner),
        "prompts": simulation.prompts,
    }
    write_json(folder / "scan.json", record | run_record(seconds=progress.seconds))


def _write(folder: Path, simulation: Simulation, scans: dict[str, PETImage]) -> None:
    from petdiff.io import write

    for name, image in scans.items():
        write(image, folder / f"{name}.nii.gz")
    labels = PETImage(simulation.labels.astype(np.float32), simulation.truth.affine)
    write(labels, folder / "labels.nii.gz")
    names = {str(label): name for label, name in simulation.names.items()}
    write_json(folder / "labels.json", names)
    lesions = [lesion.model_dump() for lesion in simulation.patient.lesions]
    write_json(folder / "lesions.json", {"lesions": lesions})


def _picture(path: Path, simulation: Simulation, seed: int, scans: dict[str, PETImage]) -> None:
    from petdiff.report.preview import write_scans

    tracer = simulation.patient.tracer.upper()
    title = f"virtual patient {seed} · {tracer} · {simulation.scanner.label}"
    shown = {_caption(name): image for name, image in scans.items()}
    write_scans(path, shown, title=title, note="simulated, not a real patient")


def _caption(name: str) -> str:
    return f"1/{name.removeprefix('low_drf')} dose" if name.startswith("low") else name
