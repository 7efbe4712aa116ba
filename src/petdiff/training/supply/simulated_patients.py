"""Simulated patients on realistic scanners, similar to the pairs of a hospital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from petdiff.errors import InputRefused
from petdiff.simulation.patient.draw import with_uptake
from petdiff.simulation.patient.tracers import TRACERS
from petdiff.simulation.phantom.abstract_bodies import log_uniform
from petdiff.simulation.scanner.scanners import SCANNERS, Scanner
from petdiff.simulation.study import draw_record, rescan
from petdiff.training.supply.paired_volumes import PairedVolumes
from petdiff.training.supply.randomized_scans import FIRST_SEED, draw_factors

VOXEL_MM = (3.0, 6.0)
EXTENTS = ("head-neck", "thorax", "abdomen", "pelvis")
FDG_IN_HEADS = 0.75  # share if any tracer may be drawn; others have low uptake in the cortex
SEEN_SCANNERS = [name for name, scanner in SCANNERS.items() if not scanner.held_out]
OTHER_SCANNERS = 0.5  # share of scans by invented scanners similar to real ones
HOT_MARROW_SHARE = 0.25  # share of patients
HOT_MARROW = (1.5, 5.0)  # range of the factor on its uptake
_MAX_PATIENTS = 20  # that are tried until one fits the bore


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a real scanner that is not held out, or an invented one similar to it.

    So a network does not memorize four scanners.
    """
    known = SCANNERS[str(rng.choice(SEEN_SCANNERS))]
    return invented_like(known, rng) if rng.random() < OTHER_SCANNERS else known


def invented_like(known: Scanner, rng: np.random.Generator) -> Scanner:
    """Return an invented scanner with the geometry of a real one.

    Its other properties are drawn from the range of whole-body scanners of the last twenty years,
    and its protocol is similar to the real one.
    """
    between = partial(log_uniform, rng)
    fwhm_mm = between(2.8, 6.0)
    filter_fwhm_mm = float(rng.choice([0.0, rng.uniform(2.0, 7.0)], p=[0.3, 0.7]))
    return replace(
        known,
        label=f"like {known.label}",
        nema_cps_per_bq=known.nema_cps_per_bq * between(0.5, 1.5),
        tof_ps=between(180, 650),
        fwhm_mm=fwhm_mm,
        axial_fwhm_mm=fwhm_mm * between(0.8, 1.25),
        scatter_fraction=float(rng.uniform(0.28, 0.42)),
        randoms_fraction=float(rng.uniform(0.2, 0.4)),
        iterations=int(rng.integers(2, 5)),
        subsets=int(rng.choice([5, 8, 10, 16, 20])),
        filter_fwhm_mm=(filter_fwhm_mm, filter_fwhm_mm * between(0.7, 1.4)),
        bed_seconds=known.bed_seconds * between(0.5, 2.0),
    )


def draw_tracer(rng: np.random.Generator, extent: str) -> str:
    """Draw any tracer; in the head mostly FDG."""
    if extent == "head-neck" and rng.random() < FDG_IN_HEADS:
        return "fdg"
    return str(rng.choice(list(TRACERS)))


def with_hot_marrow(rng: np.random.Generator, uptake: Mapping[str, float]) -> dict[str, float]:
    """Return the uptake of the tissues with hotter marrow, as after stimulation.

    Stimulated marrow is frequent in oncology. Ribs are then thin hot structures in cold tissue. A
    network that rarely sees such ribs blurs them (lab book 32).
    """
    return {**uptake, "marrow": uptake["marrow"] * log_uniform(rng, *HOT_MARROW)}


@dataclass(frozen=True)
class SimulatedPatients:
    """A source of short parts of simulated patients, each scanned at full and at low doses.

    scanner, tracer  names; "" draws them by `draw_scanner` and `draw_tracer`

    If both are named, only the patient, the doses and the voxel size vary, as in one hospital.
    Otherwise a share of the patients have stimulated marrow.
    """

    seed: int
    scanner: str = ""
    tracer: str = ""

    def __call__(self, number: int) -> PairedVolumes:
        """Return the volumes of a number; InputRefused if no patient fits the scanner."""
        rng = np.random.default_rng([self.seed, number])
        for _ in range(_MAX_PATIENTS):
            try:
                return self._scanned(rng)
            except InputRefused as refused:  # wider than the bore: try the next patient
                problem = refused
        raise problem

    def _scanned(self, rng: np.random.Generator) -> PairedVolumes:
        extent = str(rng.choice(EXTENTS))
        record = draw_record(
            int(rng.integers(FIRST_SEED, 2**31)),
            scanner=self.scanner or draw_scanner(rng),
            tracer=self.tracer or draw_tracer(rng, extent),
            dose_factors=draw_factors(rng),
            voxel_mm=log_uniform(rng, *VOXEL_MM),
            extent=extent,
        )
        if not self.scanner and rng.random() < HOT_MARROW_SHARE:
            patient = with_uptake(record.patient, with_hot_marrow(rng, record.patient.uptake))
            record = record.model_copy(update={"patient": patient})
        study = rescan(record, threads=1)  # many processes simulate at once
        return PairedVolumes(study.full.suv, {drf: low.suv for drf, low in study.lows.items()})
