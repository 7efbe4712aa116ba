"""A study: a virtual patient drawn, rendered and scanned, from a seed to images in SUV."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.clinic.anatomy.build import patient_grid
from petdiff.clinic.anatomy.names import NAMES
from petdiff.clinic.anatomy.render import render
from petdiff.clinic.description import Patient
from petdiff.clinic.exam import Exam
from petdiff.clinic.isotopes import ISOTOPES, Isotope
from petdiff.clinic.patient import draw_patient
from petdiff.clinic.scan import scan
from petdiff.clinic.scanners import Scanner, get_scanner
from petdiff.clinic.tracers import get_tracer
from petdiff.image import PETImage


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulated study gives; all volumes lie on one grid [i, j, k].

    truth   activity that was scanned, SUV
    full    full-dose scan
    lows    by dose reduction factor; their counts are part of the full scan's
    labels  structures, as in `names`
    prompts events of the full-dose scan
    """

    patient: Patient
    scanner: Scanner
    truth: PETImage
    full: PETImage
    lows: dict[float, PETImage]
    labels: NDArray[np.uint8]
    names: dict[int, str]
    prompts: float


def simulate(
    seed: int = 0,
    *,
    scanner: str = "quadra",
    tracer: str = "fdg",
    dose_factors: Sequence[float] = (4, 20, 100),
    lesions: bool = True,
    voxel_mm: float | None = None,
    extent: str = "total-body",
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Draw the patient of `seed` and scan them at full dose and at 1/factor of it.

    voxel_mm  of all images (default: the scanner's)
    progress  called with (slices done, slices in all)

    Raises UsageError for names that are not known.
    """
    machine = get_scanner(scanner)
    patient = draw_patient(seed, tracer=tracer, lesions=lesions, extent=extent)
    grid = patient_grid(patient, (voxel_mm,) * 3 if voxel_mm else machine.voxel_mm)
    phantom = render(patient, grid)
    scanned = scan(
        phantom.activity_suv,
        phantom.mu_per_cm,
        grid.voxel_mm,
        machine,
        _exam(patient),
        dose_factors=[factor for factor in dose_factors if factor > 1],
        seed=seed,
        threads=os.cpu_count() or 1,
        progress=progress,
    )
    present = (int(label) for label in np.unique(phantom.labels) if label)
    return Simulation(
        patient,
        machine,
        truth=PETImage(phantom.activity_suv, grid.affine),
        full=PETImage(scanned.full, grid.affine),
        lows={factor: PETImage(low, grid.affine) for factor, low in scanned.lows.items()},
        labels=phantom.labels,
        names={label: NAMES[label] for label in present},
        prompts=scanned.prompts,
    )


def _exam(patient: Patient) -> Exam:
    return Exam(
        patient.injected_mbq * 1e6,
        patient.weight_kg,
        patient.uptake_min * 60,
        isotope=_isotope(get_tracer(patient.tracer).half_life_min),
    )


def _isotope(half_life_min: float) -> Isotope:
    """The emitter whose half-life that is."""
    return min(ISOTOPES.values(), key=lambda one: abs(one.half_life_s / 60 - half_life_min))
