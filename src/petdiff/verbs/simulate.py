"""`petdiff simulate`: virtual patients, scanned at full and at low dose, with the truth beside."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from petdiff.image import PETImage
from petdiff.outputs import require_free, whole_folder, write_json
from petdiff.progress import Progress
from petdiff.verbs.record import run_record

if TYPE_CHECKING:
    from petdiff.clinic.anatomy.grid import Grid
    from petdiff.clinic.anatomy.render import Phantom
    from petdiff.clinic.description import Patient
    from petdiff.clinic.scan import Scan
    from petdiff.clinic.scanners import Scanner


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
            simulate_patient(study, study.seed, folder, progress)
            return [Path(output)]
        names = [f"patient_{n:04d}" for n in range(study.patients)]
        for n, name in enumerate(names):
            (folder / name).mkdir()
            progress.say(f"patient {n + 1} of {study.patients}, seed {study.seed + n}")
            simulate_patient(study, study.seed + n, folder / name, progress)
    return [Path(output) / name for name in names]


def simulate_patient(study: Study, seed: int, folder: Path, progress: Progress) -> None:
    """Draw, scan and write one patient."""
    from petdiff.clinic.anatomy.build import patient_grid
    from petdiff.clinic.anatomy.render import render
    from petdiff.clinic.patient import draw_patient
    from petdiff.clinic.scanners import get_scanner

    scanner = get_scanner(study.scanner)
    voxel_mm = (study.voxel_mm,) * 3 if study.voxel_mm else scanner.voxel_mm
    with progress.stage("patient"):
        patient = draw_patient(
            seed, tracer=study.tracer, lesions=study.lesions, extent=study.extent
        )
        grid = patient_grid(patient, voxel_mm)
        require_free(folder, 4 * int(np.prod(grid.shape)) * (3 + len(study.dose_factors)))
        phantom = render(patient, grid)
    progress.say(
        f"{patient.sex}, {patient.weight_kg:.0f} kg, {patient.injected_mbq:.0f} MBq "
        f"{study.tracer}, {len(patient.lesions)} lesions · {scanner.label} · "
        f"{' × '.join(map(str, grid.shape))} voxels"
    )
    with progress.stage("scan") as tick:
        scanned = _scan(study, patient, phantom, grid, scanner, seed, tick)
    with progress.stage("writing"):
        images = _write(folder, grid, phantom, scanned)
        _describe(folder, study, patient, scanner, scanned, progress)
    with progress.stage("picture"):
        _picture(folder / "preview.png", study, seed, scanner, images)


def _scan(
    study: Study,
    patient: Patient,
    phantom: Phantom,
    grid: Grid,
    scanner: Scanner,
    seed: int,
    tick: Any,
) -> Scan:
    from petdiff.clinic.exam import Exam
    from petdiff.clinic.isotopes import ISOTOPES
    from petdiff.clinic.scan import scan
    from petdiff.clinic.tracers import get_tracer

    half_life_s = get_tracer(study.tracer).half_life_min * 60
    isotope = min(ISOTOPES.values(), key=lambda one: abs(one.half_life_s - half_life_s))
    exam = Exam(
        patient.injected_mbq * 1e6, patient.weight_kg, patient.uptake_min * 60, isotope=isotope
    )
    return scan(
        phantom.activity_suv,
        phantom.mu_per_cm,
        grid.voxel_mm,
        scanner,
        exam,
        dose_factors=[factor for factor in study.dose_factors if factor > 1],
        seed=seed,
        threads=os.cpu_count() or 1,
        progress=tick,
    )


def _write(folder: Path, grid: Grid, phantom: Phantom, scanned: Scan) -> dict[str, PETImage]:
    """Write the volumes; returns the scans by the names of their files."""
    from petdiff.clinic.anatomy.names import NAMES
    from petdiff.io import write

    volumes = {"truth": phantom.activity_suv, "full": scanned.full}
    volumes |= {f"low_drf{factor:g}": low for factor, low in scanned.lows.items()}
    images = {name: PETImage(suv, grid.affine) for name, suv in volumes.items()}
    for name, image in images.items():
        write(image, folder / f"{name}.nii.gz")
    labels = PETImage(phantom.labels.astype(np.float32), grid.affine)
    write(labels, folder / "labels.nii.gz")
    present = np.unique(phantom.labels)
    write_json(folder / "labels.json", {str(n): NAMES[int(n)] for n in present if n})
    return images


def _describe(
    folder: Path,
    study: Study,
    patient: Patient,
    scanner: Scanner,
    scanned: Scan,
    progress: Progress,
) -> None:
    lesions = [lesion.model_dump() for lesion in patient.lesions]
    write_json(folder / "lesions.json", {"lesions": lesions})
    record = {
        "study": asdict(study),
        "patient": patient.model_dump(),
        "scanner": asdict(scanner),
        "prompts": scanned.prompts,
    }
    write_json(folder / "scan.json", record | run_record(seconds=progress.seconds))


def _picture(
    path: Path, study: Study, seed: int, scanner: Scanner, images: dict[str, PETImage]
) -> None:
    from petdiff.report.preview import write_scans

    shown = {_caption(name): image for name, image in images.items()}
    title = f"virtual patient {seed} · {study.tracer.upper()} · {scanner.label}"
    write_scans(path, shown, title=title, note="simulated, not a real patient")


def _caption(name: str) -> str:
    return f"1/{name.removeprefix('low_drf')} dose" if name.startswith("low") else name
