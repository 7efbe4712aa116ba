"""Scans with randomized physics: bodies, uptakes and scanners beyond the range of real ones.

This is domain randomization: real scans lie within the range of the training data. A scan depends
on `numpy.random.default_rng([seed, number])` only, so that it is identical in every process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from petdiff.simulation.anatomy.render import render
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.patient.tracers import TRACERS
from petdiff.simulation.phantom.abstract_bodies import add_foci, draw_body, log_uniform
from petdiff.simulation.scanner.acquisition import acquire
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.reconstruction import osem
from petdiff.simulation.scanner.resolution import BlurredProjector, Resolution
from petdiff.simulation.shapes.grid import Grid
from petdiff.training.supply.paired_volumes import PairedVolumes, Volume

TRANSAXIAL, SLICES = 96, 56  # voxels
SHAPE = (TRANSAXIAL, TRANSAXIAL, SLICES)
PATIENT_SHARE = 0.6  # of the scans; the others are of abstract bodies
FIRST_SEED = 1_000_000  # of training patients: those below are left for tests
LOWS = 3  # low-dose volumes of each scan
VIEWS = 72  # without time of flight
# Time of flight makes an event's place along its line known, so that noise no longer spreads over
# the whole body. In voxels: 228 ps are 8.5 of 4 mm; few values, so that projectors are reused.
TOF_FWHM = (0.0, 7.0, 12.0, 21.0)


@dataclass(frozen=True)
class Protocol:
    """The properties of a scan; lengths in voxels, because the object has no physical size.

    fwhm, axial_fwhm   the scanner's resolution
    psf_share          width that the reconstruction models, over the true width (0: none)
    tof_fwhm           of the time-of-flight kernel along the lines (0: none)
    counts_per_voxel   unscattered coincidences at full dose, per voxel of the object
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
class RandomizedScan(PairedVolumes):
    """Volumes [i, j, k] in an arbitrary unit of activity, with protocol and true activity.

    truth  the activity that was scanned, on the volumes' grid
    """

    protocol: Protocol
    truth: Volume


def draw_protocol(rng: np.random.Generator) -> Protocol:
    """Draw a scanner and its settings, each property beyond the range of real scanners."""
    fwhm = log_uniform(rng, 0.5, 2.6)
    tof_fwhm = float(rng.choice(TOF_FWHM))
    subsets = int(rng.choice([4, 6, 8]))
    updates = log_uniform(rng, 12, 72 if tof_fwhm == 0 else 40)
    factors = draw_factors(rng)
    return Protocol(
        fwhm=fwhm,
        axial_fwhm=fwhm * float(rng.uniform(0.5, 1.3)),
        psf_share=float(rng.choice([0.0, rng.uniform(0.6, 1.1)], p=[0.25, 0.75])),
        tof_fwhm=tof_fwhm,
        subsets=subsets,
        iterations=max(1, round(updates / subsets)),
        scatter_fraction=float(rng.uniform(0.0, 0.4)),
        randoms_fraction=float(rng.uniform(0.0, 0.4)),
        counts_per_voxel=log_uniform(rng, 15, 40_000),
        factors=factors,
        post_fwhm=float(rng.choice([0.0, rng.uniform(0.5, 2.5)])),
        zoom=float(rng.choice([1.0, rng.uniform(1.05, 1.6)], p=[0.7, 0.3])),
    )


def draw_factors(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the dose reduction factors of the low-dose volumes, ascending."""
    factors = np.exp(rng.uniform(np.log(1.35), np.log(200), LOWS))
    return tuple(sorted(float(f) for f in factors))


def make_randomized_scan(seed: int, number: int) -> RandomizedScan:
    """Return scan `number` of the supply `seed`: an abstract body or a part of a patient."""
    rng = np.random.default_rng([seed, number])
    protocol = draw_protocol(rng)
    if rng.random() < PATIENT_SHARE:
        activity, mu_per_cm = _part_of_a_patient(rng)
    else:
        body = draw_body(rng, SHAPE)
        activity, mu_per_cm = body.activity, body.mu_per_cm
    return scan_object(rng, protocol, activity, mu_per_cm)


def _part_of_a_patient(rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Return activity and attenuation of a short part of a patient, at a random voxel size."""
    patient = draw_patient(
        int(rng.integers(FIRST_SEED, 2**31)), tracer=str(rng.choice(list(TRACERS)))
    )
    i = j = log_uniform(rng, 1.6, 6.5)
    k = i * log_uniform(rng, 0.6, 1.6)
    top_mm = sum(patient.lengths_mm.model_dump().values())
    low_mm = rng.uniform(0.25 * top_mm, max(0.3 * top_mm, top_mm - SLICES * k))
    centre_mm = rng.normal(0, 40, 2)
    corner = (centre_mm[0] - i * TRANSAXIAL / 2, centre_mm[1] - j * TRANSAXIAL / 2, low_mm)
    phantom = render(patient, Grid(SHAPE, (i, j, k), corner))
    activity = phantom.activity_suv
    if rng.random() < 0.5:  # uptakes unlike those of any tracer
        changed = np.exp(rng.normal(0, 0.6, 256)).astype(np.float32)
        activity = activity * changed[phantom.labels]
    if rng.random() < 0.5:  # additional foci
        add_foci(rng, activity, np.indices(SHAPE, dtype=np.float32))
        activity *= phantom.mu_per_cm > 0
    return activity, phantom.mu_per_cm


def scan_object(
    rng: np.random.Generator, protocol: Protocol, activity: Volume, mu_per_cm: Volume
) -> RandomizedScan:
    """Scan activity and mu_per_cm [i, i, k] at full dose and at each of the protocol's factors."""
    n, _, slices = activity.shape
    # The object is taken as 384 mm wide, as a real body is: this sets the attenuation per voxel.
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
        list(acquisition.counts),
        seen_with(protocol.psf_share),
        iterations=protocol.iterations,
        multiplicative=acquisition.multiplicative,
        additive=acquisition.additive,
        exposures=[1 / f for f in factors],
    )
    full, *lows = (_stored(image, protocol) for image in images)
    by_dose: dict[float | None, Volume] = dict(zip(protocol.factors, lows, strict=True))
    truth = _stored(activity, protocol, post_filter=False)
    return RandomizedScan(full, by_dose, protocol, truth)


def _views(protocol: Protocol) -> int:
    """Return the number of views, a multiple of the subsets.

    Time of flight needs fewer: neighbouring views may differ by a pixel at the reach of the kernel.
    """
    needed = min(VIEWS, np.pi * protocol.tof_fwhm) if protocol.tof_fwhm else VIEWS
    return int(np.ceil(needed / protocol.subsets)) * protocol.subsets


def _stored(image: Volume, protocol: Protocol, *, post_filter: bool = True) -> Volume:
    """Return an image after the post-filter, interpolated to the grid on which it is stored."""
    if post_filter and protocol.post_fwhm:
        image = gaussian_filter(image, protocol.post_fwhm / 2.355)
    if protocol.zoom != 1:
        image = zoom(image, protocol.zoom, order=1, grid_mode=True, mode="nearest")
    return np.ascontiguousarray(image, dtype=np.float32)
