"""Detected lesions and false foci of one patient, scanned with and without lesions.

The two scans have equal noise seeds. The scan with lesions gives the detected lesions. The scan
without lesions gives the false foci: those that the true uptake does not have. Air and the ends of
the scan are left out. `lesion_summary` summarises many scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.evaluation.detection.foci import SAME_PLACE_MM, find_foci, unexplained
from petdiff.evaluation.detection.observers import laguerre_gauss
from petdiff.image import axial_axis, spacing_of
from petdiff.simulation.anatomy.description import Lesion
from petdiff.volume.regions import Affine, Volume, body_mask


def _bins(edges: Sequence[float], unit: str) -> tuple[str, ...]:
    between = (f"{a:g} to {b:g} {unit}" for a, b in pairwise(edges))
    return f"below {edges[0]:g} {unit}", *between, f"{edges[-1]:g} {unit} and above"


SIZES_MM = (10.0, 15.0, 25.0)  # edges of the diameter's bins
CONTRASTS = (2.0, 4.0, 8.0)  # edges of the bins of uptake over the uptake without the lesion
SIZE_BINS, CONTRAST_BINS = _bins(SIZES_MM, "mm"), _bins(CONTRASTS, ":1")
END_MM = 50.0  # at each end of the scan, left out
CHANNELS = 5
_RESOLUTION_MM = 6.0  # a lesion's image is wider than the lesion by this
_PATCH = 1.25  # half the side of an observer's patch, in widths of a lesion's image
_POINTS_ACROSS = 7  # of a lesion, for the mean uptake without it


@dataclass(frozen=True, eq=False)
class Twins:
    """One patient's images with and without lesions, otherwise the same; SUV [i, j, k]."""

    with_lesions: Volume
    without: Volume


@dataclass(frozen=True, eq=False)
class TwinCase:
    """The images of one patient by all methods.

    scan     name of the scan; a `patient` may have several
    truth    the true uptake
    full     the full-dose scan, which is the reference
    scans    by method and dose reduction factor; the low-dose scan itself is a method too
    """

    scan: str
    patient: str
    affine: Affine
    lesions: Sequence[Lesion]
    truth: Twins
    full: Twins
    scans: Mapping[tuple[str, float], Twins]


@dataclass(frozen=True)
class Reading:
    """The detector's results for one patient and one method.

    All values can be written as JSON, except the score -inf of lesions that were not found.

    lesions   score of each lesion in the readable part; -inf: not found
    sizes, contrasts  bin of each lesion
    false     scores of the foci of the scan without lesions that the truth does not have
    invented  those of them that the full-dose scan without lesions does not have either
    present, absent   outputs of a Hotelling observer's channels at each lesion's position, with
                      and without the lesion [lesion][channel]
    """

    scan: str
    patient: str
    method: str
    dose: float
    lesions: tuple[float, ...]
    sizes: tuple[str, ...]
    contrasts: tuple[str, ...]
    false: tuple[float, ...]
    invented: tuple[float, ...]
    present: tuple[tuple[float, ...], ...] = ()
    absent: tuple[tuple[float, ...], ...] = ()


def read_case(case: TwinCase) -> list[Reading]:
    """Return one reading per method; the first is of the full-dose scan ("full", dose 1)."""
    readable = readable_part(case.truth.without, case.affine)
    lesions = [one for one in case.lesions if _at(readable, case.affine, one.centre_mm).all()]
    sizes = tuple(_bin(2 * lesion.radius_mm, SIZES_MM, SIZE_BINS) for lesion in lesions)
    contrasts = tuple(_bin(_contrast(case, x), CONTRASTS, CONTRAST_BINS) for x in lesions)
    readings = []
    for (method, dose), twins in {("full", 1.0): case.full, **case.scans}.items():
        found = find_foci(twins.without, case.affine)
        found = found[_at(readable, case.affine, found.position_mm) > 0]
        false = found[unexplained(found, case.truth.without, case.affine)]
        invented = false[unexplained(false, case.full.without, case.affine)]
        present, absent = (
            tuple(channel_outputs(one, case.affine, lesion) for lesion in lesions)
            for one in (twins.with_lesions, twins.without)
        )
        readings.append(
            Reading(
                scan=case.scan,
                patient=case.patient,
                method=method,
                dose=dose,
                lesions=lesion_scores(twins, case.affine, lesions),
                sizes=sizes,
                contrasts=contrasts,
                false=tuple(map(float, false.score)),
                invented=tuple(map(float, invented.score)),
                present=present,
                absent=absent,
            )
        )
    return readings


def readable_part(truth: Volume, affine: Affine) -> NDArray[np.bool_]:
    """Return the mask in which foci are evaluated: the body without the ends of the scan.

    At the ends the sensitivity of a scanner is low, and noise is high in every image.
    """
    spacing = spacing_of(affine)
    part = body_mask(truth, spacing)
    axis = axial_axis(affine)
    ends = min(round(END_MM / spacing[axis]), truth.shape[axis] // 2)
    along = np.moveaxis(part, axis, 0)  # a view
    along[:ends], along[len(along) - ends :] = False, False
    return part


def lesion_scores(twins: Twins, affine: Affine, lesions: Sequence[Lesion]) -> tuple[float, ...]:
    """Return the highest score of a focus on each lesion.

    A focus is on a lesion if its distance from the lesion's centre is at most the lesion's radius
    plus the scanner's resolution, and the scan without lesions has no such focus there.
    """
    found = find_foci(twins.with_lesions, affine)
    new = found[unexplained(found, twins.without, affine, same_place_mm=0)]
    scores = []
    for lesion in lesions:
        apart = np.linalg.norm(new.position_mm - np.array(lesion.centre_mm), axis=1)
        on_it = new.score[apart <= lesion.radius_mm + SAME_PLACE_MM]
        scores.append(float(on_it.max(initial=-np.inf)))
    return tuple(scores)


def channel_outputs(suv: Volume, affine: Affine, lesion: Lesion) -> tuple[float, ...]:
    """Return the outputs of Laguerre–Gauss channels of the width of a lesion's image, in SUV.

    The mean of the surroundings is subtracted first.
    """
    width_mm = 2 * lesion.radius_mm + _RESOLUTION_MM
    spacing = np.array(spacing_of(affine))
    centre = np.linalg.solve(affine, [*lesion.centre_mm, 1.0])[:3]
    start = np.maximum(np.ceil(centre - _PATCH * width_mm / spacing), 0).astype(int)
    stop = np.floor(centre + _PATCH * width_mm / spacing).astype(int) + 1
    patch = suv[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].astype(float)
    offsets_mm = [
        (np.arange(n) - c) * mm
        for n, c, mm in zip(patch.shape, centre - start, spacing, strict=True)
    ]
    x, y, z = np.meshgrid(*offsets_mm, indexing="ij", sparse=True)
    around = x**2 + y**2 + z**2 > width_mm**2
    channels = laguerre_gauss(
        patch.shape, spacing.tolist(), width_mm=width_mm, count=CHANNELS, centre=centre - start
    )
    return tuple(float(v) for v in channels @ (patch - patch[around].mean()).ravel())


def _contrast(case: TwinCase, lesion: Lesion) -> float:
    """Return the uptake of a lesion over the mean uptake at its position without it."""
    across = np.linspace(-1, 1, _POINTS_ACROSS) * lesion.radius_mm
    points = np.stack(np.meshgrid(across, across, across), axis=-1).reshape(-1, 3)
    points = points[np.linalg.norm(points, axis=1) <= lesion.radius_mm] + lesion.centre_mm
    before = float(_at(case.truth.without, case.affine, points).mean())
    return lesion.suv / max(before, 1e-6)


def _at(volume: NDArray[np.generic], affine: Affine, points_mm: ArrayLike) -> NDArray[np.float64]:
    """Return values of the voxels nearest to points [n, 3] in mm."""
    index = (np.atleast_2d(np.asarray(points_mm, float)) - affine[:3, 3]) @ np.linalg.inv(
        affine[:3, :3]
    ).T
    nearest = np.clip(np.rint(index).astype(np.intp), 0, np.array(volume.shape) - 1)
    return np.asarray(volume[tuple(nearest.T)], dtype=float)


def _bin(value: float, edges: Sequence[float], bins: Sequence[str]) -> str:
    return bins[int(np.searchsorted(edges, value, side="right"))]
