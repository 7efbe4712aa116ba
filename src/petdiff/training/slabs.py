"""Training supply: short slabs, drawn and scanned on the fly, far more various than any clinic.

Everything about a slab comes from `numpy.random.default_rng([seed, index])`, so it is the same
bytes for the same seed and index in whatever process it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from petdiff.clinic.abstract import add_foci, draw_body
from petdiff.clinic.acquisition import acquire
from petdiff.clinic.anatomy.grid import Grid
from petdiff.clinic.anatomy.render import render
from petdiff.clinic.patient import draw_patient
from petdiff.clinic.projector import ParallelProjector
from petdiff.clinic.reconstruction import osem
from petdiff.clinic.resolution import BlurredProjector, Resolution
from petdiff.clinic.scanners import SCANNERS, Scanner
from petdiff.clinic.study import simulate
from petdiff.clinic.tracers import TRACERS
from petdiff.errors import InputRefused
from petdiff.training.dataset import Pairs
from petdiff.training.recipe import Recipe
from petdiff.training.store import Store

Volume = NDArray[np.float32]

TRANSAXIAL, SLICES = 96, 56  # voxels
SHAPE = (TRANSAXIAL, TRANSAXIAL, SLICES)
PATIENT_SHARE = 0.6  # of the slabs; the others are abstract bodies
FIRST_SEED = 1_000_000  # of training patients: those below are left for tests
LOWS = 3  # low-dose scans of each slab
VIEWS = 72  # without time of flight
# Time of flight makes an event's place along its line known, so that noise no longer spreads over
# the whole body. In voxels: 228 ps are 8.5 of 4 mm; few values, so that projectors are reused.
TOF_FWHM = (0.0, 7.0, 12.0, 21.0)
CLINICAL_VOXEL_MM = (3.0, 6.0)
CLINICAL_EXTENTS = ("head-neck", "thorax", "abdomen", "pelvis")
SEEN_SCANNERS = [name for name, scanner in SCANNERS.items() if not scanner.held_out]
OTHER_SCANNERS = 0.5  # of the clinical slabs of any scanner: from those that no clinic has
_PATIENTS_TRIED = 20  # until one fits the bore
_MIXING = 1  # tells the draws that choose between supplies from those of the slabs
SUPPLY = 3  # to be raised with every change of what a slab is, so that kept ones are not mixed


@dataclass(frozen=True)
class Protocol:
    """How a slab is scanned; lengths in voxels, for a slab has no millimetres of its own.

    fwhm, axial_fwhm   the scanner's resolution
    psf_share          the width the reconstruction models, relative to the true one (0: none)
    tof_fwhm           of the time-of-flight kernel along the lines (0: none)
    counts_per_voxel   unscattered coincidences at full dose, per voxel of the slab
    factors            dose reductions of the low-dose scans, ascending
    post_fwhm          filter after reconstruction, the same at every dose
    zoom               finer grid on which the image is stored, as scanners interpolate
    """

    fwhm: float
    axial_fwhm: float
    psf_share: float
    tof_fwhm: float
    subsets: int
    iterations: int
    scatter_fraction: float
    randoms_fraction: float
    counts_per_voxel: float
    factors: tuple[float, ...]
    post_fwhm: float
    zoom: float


@dataclass(frozen=True)
class Slab:
    """full and lows [i, j, k] in the same arbitrary unit of activity; truth on their grid."""

    protocol: Protocol
    truth: Volume
    full: Volume
    lows: tuple[Volume, ...]


def draw_protocol(rng: np.random.Generator) -> Protocol:
    """A scanner and its settings, each property drawn over more than the range of real ones."""
    fwhm = float(np.exp(rng.uniform(np.log(0.5), np.log(2.6))))
    tof_fwhm = float(rng.choice(TOF_FWHM))
    subsets = int(rng.choice([4, 6, 8]))
    updates = float(np.exp(rng.uniform(np.log(12), np.log(72 if tof_fwhm == 0 else 40))))
    factors = _draw_factors(rng)
    return Protocol(
        fwhm=fwhm,
        axial_fwhm=fwhm * float(rng.uniform(0.5, 1.3)),
        psf_share=float(rng.choice([0.0, rng.uniform(0.6, 1.1)], p=[0.25, 0.75])),
        tof_fwhm=tof_fwhm,
        subsets=subsets,
        iterations=max(1, round(updates / subsets)),
        scatter_fraction=float(rng.uniform(0.0, 0.4)),
        randoms_fraction=float(rng.uniform(0.0, 0.4)),
        counts_per_voxel=float(np.exp(rng.uniform(np.log(15), np.log(40_000)))),
        factors=factors,
        post_fwhm=float(rng.choice([0.0, rng.uniform(0.5, 2.5)])),
        zoom=float(rng.choice([1.0, rng.uniform(1.05, 1.6)], p=[0.7, 0.3])),
    )


def _draw_factors(rng: np.random.Generator) -> tuple[float, ...]:
    factors = np.exp(rng.uniform(np.log(1.35), np.log(200), LOWS))
    return tuple(sorted(float(f) for f in factors))


def make_slab(seed: int, index: int) -> Slab:
    """Slab `index` of the endless supply `seed`: an abstract body or a part of a patient."""
    rng = np.random.default_rng([seed, index])
    protocol = draw_protocol(rng)
    if rng.random() < PATIENT_SHARE:
        activity, mu_per_cm = _part_of_a_patient(rng)
    else:
        body = draw_body(rng, SHAPE)
        activity, mu_per_cm = body.activity, body.mu_per_cm
    return scan_slab(rng, protocol, activity, mu_per_cm)


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner of the clinic that is not held out, or one like it with properties of its own.

    Those lie within what whole-body scanners of the last twenty years have, their protocols around
    the clinic's, so that a network does not learn four scanners by heart.
    """
    known = SCANNERS[str(rng.choice(SEEN_SCANNERS))]
    if rng.random() >= OTHER_SCANNERS:
        return known

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

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


@dataclass(frozen=True)
class Stretch:
    """A stretch of a patient at full and at low doses [i, j, k], SUV."""

    full: Volume
    lows: tuple[Volume, ...]


@dataclass(frozen=True)
class ClinicalSlabs:
    """index → Stretch, of one scanner with one tracer as the clinic has them, or of any ("").

    It is what hospitals' own pairs would be: of one scanner, nothing is drawn beyond the clinic's
    range but the dose and the voxel size. "Any" are those of `draw_scanner`.
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
        study = simulate(
            int(rng.integers(FIRST_SEED, 2**31)),
            scanner=self.scanner or draw_scanner(rng),
            tracer=self.tracer or str(rng.choice(list(TRACERS))),
            dose_factors=_draw_factors(rng),
            voxel_mm=float(np.exp(rng.uniform(*np.log(CLINICAL_VOXEL_MM)))),
            extent=str(rng.choice(CLINICAL_EXTENTS)),
            threads=1,  # slabs are made by many processes at once
        )
        return Stretch(study.full.suv, tuple(low.suv for low in study.lows.values()))


@dataclass(frozen=True)
class MixedSlabs:
    """index → what `clinical` gives, for a share of the indices, or else what `various` gives."""

    seed: int
    clinical_share: float
    clinical: Callable[[int], Pairs]
    various: Callable[[int], Pairs]

    def __call__(self, index: int) -> Pairs:
        chosen = np.random.default_rng([self.seed, index, _MIXING]).random()
        return self.clinical(index) if chosen < self.clinical_share else self.various(index)


@dataclass(frozen=True)
class KeptSlabs:
    """index → Stretch with what `draw` gives, kept in a store, so that it is scanned only once.

    A store holds slabs of any supply under its name and version, and runs of different methods can
    share it.
    """

    store: Store
    name: str
    draw: Callable[[int], Pairs]

    def __call__(self, index: int) -> Stretch:
        name = f"{self.name}-v{SUPPLY}-{index:08d}"
        if name not in self.store:
            slab = self.draw(index)
            self.store.put(name, {"full": slab.full, "lows": np.stack(slab.lows)}, {})
        entry = self.store.get(name)
        assert entry is not None
        return Stretch(np.array(entry.arrays["full"]), tuple(np.array(entry.arrays["lows"])))


def clinic_slabs(recipe: Recipe) -> Callable[[int], Pairs]:
    """The supply that a recipe asks of the virtual clinic."""

    def kept(name: str, draw: Callable[[int], Pairs]) -> Callable[[int], Pairs]:
        if not recipe.kept_slabs:
            return draw
        return KeptSlabs(Store(Path(recipe.kept_slabs)), f"{name}-{recipe.seed}", draw)

    seed, scanner, tracer = recipe.seed, recipe.scanner, recipe.tracer
    clinical = kept(f"{scanner or 'any'}-{tracer or 'any'}", ClinicalSlabs(seed, scanner, tracer))
    if scanner:
        return clinical
    various = kept("clinic", partial(make_slab, seed))
    return MixedSlabs(seed, recipe.clinical_share, clinical, various)


def _part_of_a_patient(rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Activity and attenuation of a short stretch of a patient, at a voxel size of its own."""
    patient = draw_patient(
        int(rng.integers(FIRST_SEED, 2**31)), tracer=str(rng.choice(list(TRACERS)))
    )
    i = j = float(np.exp(rng.uniform(np.log(1.6), np.log(6.5))))
    k = i * float(np.exp(rng.uniform(np.log(0.6), np.log(1.6))))
    top_mm = sum(patient.lengths_mm.model_dump().values())
    low_mm = rng.uniform(0.25 * top_mm, max(0.3 * top_mm, top_mm - SLICES * k))
    centre_mm = rng.normal(0, 40, 2)
    corner = (centre_mm[0] - i * TRANSAXIAL / 2, centre_mm[1] - j * TRANSAXIAL / 2, low_mm)
    phantom = render(patient, Grid(SHAPE, (i, j, k), corner))
    activity = phantom.activity_suv
    if rng.random() < 0.5:  # uptakes that no tracer has
        changed = np.exp(rng.normal(0, 0.6, 256)).astype(np.float32)
        activity = activity * changed[phantom.labels]
    if rng.random() < 0.5:  # and more lesions than patients have
        add_foci(rng, activity, np.indices(SHAPE, dtype=np.float32))
        activity *= phantom.mu_per_cm > 0
    return activity, phantom.mu_per_cm


def scan_slab(
    rng: np.random.Generator, protocol: Protocol, activity: Volume, mu_per_cm: Volume
) -> Slab:
    """Scan activity and mu_per_cm [i, i, k] at full dose and at each of the protocol's factors."""
    n, _, slices = activity.shape
    # A real body is about 100 voxels of 4 mm wide: that sets how much attenuation a voxel means.
    voxel_mm = 4.0 * 96 / n
    projector = ParallelProjector(
        n,
        voxel_mm,
        _views(protocol),
        subsets=protocol.subsets,
        tof_fwhm_mm=protocol.tof_fwhm * voxel_mm or None,
    )

    def seen_with(share: float) -> BlurredProjector:
        mm = share * projector.voxel_mm
        resolution = Resolution(protocol.fwhm * mm, protocol.axial_fwhm * mm)
        return BlurredProjector(projector, resolution, n_slices=slices, slice_mm=projector.voxel_mm)

    factors = (1.0, *protocol.factors)
    acquisition = acquire(
        activity,
        mu_per_cm,
        seen_with(1.0),
        generator=rng,
        expected_trues=protocol.counts_per_voxel * activity.size,
        scatter_fraction=protocol.scatter_fraction,
        randoms_fraction=protocol.randoms_fraction,
        factors=factors,
    )
    images = osem(
        acquisition.counts,
        seen_with(protocol.psf_share),
        iterations=protocol.iterations,
        multiplicative=acquisition.multiplicative,
        additive=acquisition.additive,
        exposures=[1 / f for f in factors],
    )
    full, *lows = (_store(image, protocol) for image in np.moveaxis(images, 2, 0))
    return Slab(protocol, _store(activity, protocol, post_filter=False), full, tuple(lows))


def _views(protocol: Protocol) -> int:
    """Enough views, a multiple of the subsets: fewer where time of flight bounds an event's reach.

    Neighbouring views may be as far apart as a pixel is at the reach of the kernel.
    """
    needed = min(VIEWS, np.pi * protocol.tof_fwhm) if protocol.tof_fwhm else VIEWS
    return int(np.ceil(needed / protocol.subsets)) * protocol.subsets


def _store(image: Volume, protocol: Protocol, *, post_filter: bool = True) -> Volume:
    if post_filter and protocol.post_fwhm:
        image = gaussian_filter(image, protocol.post_fwhm / 2.355)
    if protocol.zoom != 1:
        image = zoom(image, protocol.zoom, order=1, grid_mode=True, mode="nearest")
    return np.ascontiguousarray(image, dtype=np.float32)
