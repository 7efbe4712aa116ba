"""Stretches of virtual patients as scanners give them: what a clinic's own pairs would be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from petdiff.errors import InputRefused
from petdiff.simulation.patient.tracers import TRACERS
from petdiff.simulation.phantom.abstract_bodies import log_uniform
from petdiff.simulation.scanner.scanners import SCANNERS, Scanner
from petdiff.simulation.study import simulate
from petdiff.training.supply.varied_slabs import FIRST_SEED, Volume, draw_factors

VOXEL_MM = (3.0, 6.0)
EXTENTS = ("head-neck", "thorax", "abdomen", "pelvis")
FDG_IN_HEADS = 0.75  # of any tracer's stretches there: the others leave the folded cortex dark
SEEN_SCANNERS = [name for name, scanner in SCANNERS.items() if not scanner.held_out]
OTHER_SCANNERS = 0.5  # of the stretches of any scanner: from those that no clinic has
_PATIENTS_TRIED = 20  # until one fits the bore


@dataclass(frozen=True)
class Stretch:
    """A stretch of a patient at full dose and, by dose reduction factor, at low ones [i, j, k]."""

    full: Volume
    lows: dict[float, Volume]


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner of the clinic that is not held out, or one like it with properties of its own.

    Those lie within what whole-body scanners of the last twenty years have, their protocols around
    the clinic's, so that a network does not learn four scanners by heart.
    """
    known = SCANNERS[str(rng.choice(SEEN_SCANNERS))]
    if rng.random() >= OTHER_SCANNERS:
        return known

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
    """Any tracer of the clinic, but in the head mostly FDG."""
    if extent == "head-neck" and rng.random() < FDG_IN_HEADS:
        return "fdg"
    return str(rng.choice(list(TRACERS)))


@dataclass(frozen=True)
class Stretches:
    """index → Stretch, of one scanner with one tracer as the clinic has them, or of any ("").

    It is what hospitals' own pairs would be: of one scanner, nothing is drawn beyond the clinic's
    range but the dose and the voxel size. "Any" are those of `draw_scanner` and `draw_tracer`.
    """

    seed: int
    scanner: str = ""
    tracer: str = ""

    def __call__(self, index: int) -> Stretch:
        rng = np.random.default_rng([self.seed, index])
        for _ in range(_PATIENTS_TRIED):
            try:
                return self._scanned(rng)
            except InputRefused as refused:  # wider than the bore: the next patient's turn
                problem = refused
        raise problem

    def _scanned(self, rng: np.random.Generator) -> Stretch:
        extent = str(rng.choice(EXTENTS))
        study = simulate(
            int(rng.integers(FIRST_SEED, 2**31)),
            scanner=self.scanner or draw_scanner(rng),
            tracer=self.tracer or draw_tracer(rng, extent),
            dose_factors=draw_factors(rng),
            voxel_mm=log_uniform(rng, *VOXEL_MM),
            extent=extent,
            threads=1,  # slabs are made by many processes at once
        )
        return Stretch(study.full.suv, {dose: low.suv for dose, low in study.lows.items()})
