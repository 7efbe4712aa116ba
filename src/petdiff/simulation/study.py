"""A simulated study: draw, render and scan a virtual patient; images are in SUV."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import UsageError
from petdiff.image import PETImage
from petdiff.simulation.anatomy.build import patient_grid
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.render import Phantom, render
from petdiff.simulation.labels.label_file import read_label_map, reread_label_map
from petdiff.simulation.labels.label_map import LabelMap, draw_labelled_patient, render_labels
from petdiff.simulation.labels.label_names import unknown_labels
from petdiff.simulation.patient.draw import draw_patient, get_extent
from petdiff.simulation.patient.tracers import get_tracer
from petdiff.simulation.scan_record import DOSE_FACTORS, VOXEL_MM, ScanRecord, read_record
from petdiff.simulation.scanner.exam import Exam
from petdiff.simulation.scanner.isotopes import ISOTOPES, Isotope
from petdiff.simulation.scanner.scan import scan
from petdiff.simulation.scanner.scanners import Scanner, get_scanner
from petdiff.simulation.shapes.grid import Grid

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Simulation:
    """The result of a simulated study; all volumes are on one grid [i, j, k], RAS+, feet first.

    record          patient, scanner, doses and seed, from which `rescan` makes the same images
    truth           activity of the patient, in SUV
    full            full-dose scan
    lows            low-dose scans by dose reduction factor; their counts are subsets of the full
                    scan's
    labels          label of each voxel's structure; `names` has their names
    prompts         number of prompt events of the full-dose scan
    unknown_labels  labels of a given label map that became soft tissue, because their names are
                    unknown
    """

    record: ScanRecord
    truth: PETImage
    full: PETImage
    lows: dict[float, PETImage]
    labels: NDArray[np.uint8]
    prompts: float
    unknown_labels: dict[int, str] = field(default_factory=dict)

    @property
    def patient(self) -> Patient:
        return self.record.patient

    @property
    def scanner(self) -> Scanner:
        return self.record.scanner

    @cached_property
    def names(self) -> dict[int, str]:
        """Return the names of the labels that occur."""
        return {int(label): NAMES[int(label)] for label in np.unique(self.labels) if label}


class StudySettings(TypedDict, total=False):
    """Settings of `simulate` and `draw_record` in addition to the seed; all have defaults.

    scanner       quadra (default), uexplorer, vision600, discovery-mi, mct-flow, or a Scanner of
                  your own
    tracer        fdg (default), psma, dotatate, fapi
    dose_factors  dose reduction factors of the low-dose scans, 1 (the full dose) or more
                  (default: 4, 20, 100)
    lesions       False: the same patient without lesions (default: True)
    voxel_mm      voxel size of all images, 0.5 to 50 (default: the scanner's)
    extent        total-body (default), torso, head-neck, thorax, abdomen or pelvis of a drawn
                  patient
    labels        NIfTI label map that defines the anatomy. Seed and tracer then determine uptake,
                  injection and lesions, and images are in the map's coordinates
    names         names of its labels, TotalSegmentator's or this package's: a mapping, a JSON file,
                  or a table of label and name (default: the .json beside the map, or its header)
    """

    scanner: str | Scanner
    tracer: str
    dose_factors: Sequence[float]
    lesions: bool
    voxel_mm: float | None
    extent: str
    labels: str | Path | None
    names: str | Path | Mapping[int, str] | None


def simulate(
    seed: int = 0,
    *,
    threads: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **settings: Unpack[StudySettings],
) -> Simulation:
    """Draw the patient of `seed`, and scan the patient at full dose and at lower doses.

    threads   number of threads; the result does not depend on it (default: one per core)
    device    torch device of the reconstruction, such as cuda; images then differ by rounding only
              (default: the CPU, without torch)
    progress  called with the number of slices that are done, and of all slices
    settings  the fields of StudySettings: scanner, tracer, dose_factors, lesions, …

    Raises UsageError for unknown names and impossible numbers. Raises InputRefused for a file that
    is not a label map, for a label map without names, and for a patient that is wider than the
    scanner's bore.
    """
    record, label_map = _draw_study(seed, **settings)
    return _scan_study(record, label_map, progress, threads, device)


def draw_record(seed: int = 0, **settings: Unpack[StudySettings]) -> ScanRecord:
    """Return the record of a study as `simulate` does, without scanning; raises the same errors."""
    return _draw_study(seed, **settings)[0]


def rescan(
    record: ScanRecord | str | Path,
    *,
    scanner: str | Scanner | None = None,
    dose_factors: Sequence[float] | None = None,
    lesions: bool = True,
    voxel_mm: float | None = None,
    extent: str | None = None,
    labels: str | Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Scan the patient of an earlier simulation again; arguments not given keep their values.

    record   a scan.json, or the `record` of a Simulation
    lesions  False: scan the same patient without its lesions
    labels   the new path of the label map, if it was moved
    threads  number of threads, as for `simulate`

    Other arguments are as for `simulate`. If only the record is given, the images are equal byte
    for byte on the same machine with the same versions.

    Raises InputRefused for a file that is not a record, and for a label map that is missing or has
    changed. Raises UsageError as `simulate` does.
    """
    if not isinstance(record, ScanRecord):
        record = read_record(record)
    _check(record.seed, dose_factors or record.dose_factors, voxel_mm)
    patient = record.patient if lesions else record.patient.model_copy(update={"lesions": ()})
    if record.labels is None and labels is not None:
        raise UsageError("`labels` contradicts the record: its patient is drawn, not a label map's")
    if extent is not None:
        if record.labels is not None:
            raise UsageError(f"`extent` {extent} is for drawn patients: a label map has its own")
        patient = patient.model_copy(update={"extent": get_extent(extent)})
    updates = {
        "patient": patient,
        "scanner": record.scanner if scanner is None else get_scanner(scanner),
        "voxel_mm": record.voxel_mm if voxel_mm is None else voxel_mm,
    }
    if dose_factors is not None:
        updates["dose_factors"] = tuple(float(factor) for factor in dose_factors)
    label_map = None if record.labels is None else reread_label_map(record.labels, labels)
    return _scan_study(record.model_copy(update=updates), label_map, progress, threads)


def _draw_study(
    seed: int,
    *,
    scanner: str | Scanner = "quadra",
    tracer: str = "fdg",
    dose_factors: Sequence[float] = (4, 20, 100),
    lesions: bool = True,
    voxel_mm: float | None = None,
    extent: str = "total-body",
    labels: str | Path | None = None,
    names: str | Path | Mapping[int, str] | None = None,
) -> tuple[ScanRecord, LabelMap | None]:
    """Draw the patient of `seed`; return the record of the study, and the label map if given."""
    used_scanner = get_scanner(scanner)
    get_tracer(tracer)
    _check(seed, dose_factors, voxel_mm)
    if labels is None:
        if names is not None:
            raise UsageError("`names` are those of a label map: give `labels` too")
        label_map = source = None
        patient = draw_patient(seed, tracer=tracer, lesions=lesions, extent=extent)
    else:
        if extent != "total-body":
            raise UsageError(f"`extent` {extent} is for drawn patients: a label map has its own")
        label_map, source = read_label_map(labels, names)
        patient = draw_labelled_patient(seed, label_map, tracer=tracer, lesions=lesions)
    record = ScanRecord(
        seed=seed,
        patient=patient,
        scanner=used_scanner,
        dose_factors=tuple(float(factor) for factor in dose_factors),
        voxel_mm=voxel_mm,
        labels=source,
    )
    return record, label_map


def _check(seed: int, dose_factors: Sequence[float], voxel_mm: float | None) -> None:
    if seed < 0:
        raise UsageError(f"seed {seed}: give a whole number from 0 up")
    for factor in dose_factors:
        if not DOSE_FACTORS[0] <= factor <= DOSE_FACTORS[1]:
            raise UsageError(
                f"dose {factor:g}: a dose reduction factor is 1 or more, 20 for 1/20 of the dose"
            )
    if voxel_mm is not None and not VOXEL_MM[0] <= voxel_mm <= VOXEL_MM[1]:
        raise UsageError(f"voxel size {voxel_mm:g} mm: give {VOXEL_MM[0]} to {VOXEL_MM[1]:g} mm")


def _scan_study(
    record: ScanRecord,
    label_map: LabelMap | None,
    progress: Progress | None,
    threads: int | None = None,
    device: str | None = None,
) -> Simulation:
    patient, used_scanner = record.patient, record.scanner
    voxel_mm = (record.voxel_mm,) * 3 if record.voxel_mm else used_scanner.voxel_mm
    grid, phantom = _render_study(patient, label_map, voxel_mm)
    images = scan(
        phantom.activity_suv,
        phantom.mu_per_cm,
        grid.voxel_mm,
        used_scanner,
        exam_of(patient),
        dose_factors=[factor for factor in record.dose_factors if factor > 1],
        seed=record.seed,
        threads=threads or os.cpu_count() or 1,
        device=device,
        progress=progress,
    )
    return Simulation(
        record,
        truth=PETImage(phantom.activity_suv, grid.affine),
        full=PETImage(images.full, grid.affine),
        lows={factor: PETImage(low, grid.affine) for factor, low in images.lows.items()},
        labels=phantom.labels,
        prompts=images.prompts,
        unknown_labels=unknown_labels(label_map.present) if label_map else {},
    )


def _render_study(
    patient: Patient, label_map: LabelMap | None, voxel_mm: tuple[float, float, float]
) -> tuple[Grid, Phantom]:
    if label_map is None:
        grid = patient_grid(patient, voxel_mm)
        return grid, render(patient, grid)
    grid = label_map.grid(voxel_mm)
    return grid, render_labels(patient, label_map, grid)


def exam_of(patient: Patient) -> Exam:
    """Return the patient's exam: injected activity, weight, uptake time and isotope."""
    return Exam(
        patient.injected_mbq * 1e6,
        patient.weight_kg,
        patient.uptake_min * 60,
        isotope=_isotope(get_tracer(patient.tracer).half_life_min),
    )


def _isotope(half_life_min: float) -> Isotope:
    """Return the isotope with that half-life."""
    return min(ISOTOPES.values(), key=lambda isotope: abs(isotope.half_life_s / 60 - half_life_min))
