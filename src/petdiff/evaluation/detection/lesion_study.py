"""Lesions and foci of one patient, scanned with and without lesions, noise seeds alike.

The scan with lesions says what is found. The scan without them says what is false: whatever the
true uptake does not show; air and the scan's ends are not read. What many scans make of it is
`lesion_summary`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.evaluation.detection.foci import (
    SAME_PLACE_MM,
    Affine,
    Foci,
    Volume,
    find_foci,
    unexplained,
)
from petdiff.evaluation.detection.observers import laguerre_gauss
from petdiff.simulation.anatomy.description import Lesion
from petdiff.volume.regions import body_mask


def _bins(edges: Sequence[float], unit: str) -> tuple[str, ...]:
    between = (f"{a:g} to {b:g} {unit}" for a, b in pairwise(edges))
    return f"below {edges[0]:g} {unit}", *between, f"{edges[-1]:g} {unit} and above"


SIZES_MM = (10.0, 15.0, 25.0)  # edges of the diameter's bins
CONTRASTS = (2.0, 4.0, 8.0)  # of the bins of uptake over what was there without the lesion
SIZE_BINS, CONTRAST_BINS = _bins(SIZES_MM, "mm"), _bins(CONTRASTS, ":1")
END_MM = 50.0  # of each end of the scan
CHANNELS = 5
_RESOLUTION_MM = 6.0  # by which a lesion's image is wider than the lesion
_PATCH = 1.25  # half the side of an observer's patch, in widths of a lesion's image
_BALLS = 7  # points across a lesion, to average what was there without it


@dataclass(frozen=True, eq=False)
class Twins:
    """One patient's images with and without lesions, SUV [i, j, k], all else alike."""

    with_lesions: Volume
    without: Volume


@dataclass(frozen=True, eq=False)
class Case:
    """A patient as every method shows it.

    scan     what the scan is called, and `patient` whose it is: there may be several of one
    truth    what was scanned
    full     the full-dose scan, which others are held against
    scans    by method and dose reduction factor: the low-dose scan itself is a method too
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
    """What the detector makes of one patient by one method.

    Numbers only, JSON-able but for the infinite score of a lesion that has no focus.

    lesions   score of each lesion of the readable part, -inf where nothing was found
    sizes, contrasts  each lesion's stratum
    false     scores of the readable foci of the scan without lesions that the truth lacks
    invented  those of them that the full-dose scan without lesions does not show either
    present, absent   what a Hotelling observer's channels show of each lesion's place with the
                      lesion and without it [lesion][channel]
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


def read_case(case: Case) -> list[Reading]:
    """Return one reading per method, that of the full-dose scan ("full", dose 1) first."""
    readable = readable_part(case.truth.without, case.affine)

    def read(without: Foci) -> Foci:
        return without[_at(readable, case.affine, without.position_mm) > 0]

    lesions = [one for one in case.lesions if _at(readable, case.affine, one.centre_mm).all()]
    sizes = tuple(_bin(2 * lesion.radius_mm, SIZES_MM, SIZE_BINS) for lesion in lesions)
    contrasts = tuple(_bin(_contrast(case, x), CONTRASTS, CONTRAST_BINS) for x in lesions)
    readings = []
    for (method, dose), twins in {("full", 1.0): case.full, **case.scans}.items():
        without = find_foci(twins.without, case.affine)
        false = read(without)
        false = false[unexplained(false, case.truth.without, case.affine)]
        invented = false[unexplained(false, case.full.without, case.affine)]
        readings.append(
            Reading(
                case.scan,
                case.patient,
                method,
                dose,
                lesion_scores(twins, case.affine, lesions),
                sizes,
                contrasts,
                tuple(map(float, false.score)),
                tuple(map(float, invented.score)),
                *(
                    tuple(channel_outputs(one, case.affine, lesion) for lesion in lesions)
                    for one in (twins.with_lesions, twins.without)
                ),
            )
        )
    return readings


def readable_part(truth: Volume, affine: Affine) -> NDArray[np.bool_]:
    """Return the voxels where a reader would heed a focus: in the body, off the scan's ends.

    At the ends a scanner measures next to nothing, and every image is full of spikes.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    part = body_mask(truth, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    axis = int(np.argmax(np.abs(affine[2, :3]) / spacing))  # feet to head
    ends = min(round(END_MM / spacing[axis]), truth.shape[axis] // 2)
    along = np.moveaxis(part, axis, 0)  # a view
    along[:ends], along[len(along) - ends :] = False, False
    return part


def lesion_scores(twins: Twins, affine: Affine, lesions: Sequence[Lesion]) -> tuple[float, ...]:
    """Return the score of the best focus on each lesion.

    On a lesion is a focus no farther from its centre than its radius and a scanner's resolution,
    and not at that spot in the scan without lesions, where it belongs to none.
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
    """Return outputs of Laguerre–Gauss channels as wide as a lesion's image, in SUV.

    What lies around it is taken off first, for a reader sees a lesion against its surroundings.
    """
    width_mm = 2 * lesion.radius_mm + _RESOLUTION_MM
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    centre = np.linalg.solve(affine, [*lesion.centre_mm, 1.0])[:3]
    start = np.maximum(np.ceil(centre - _PATCH * width_mm / spacing), 0).astype(int)
    stop = np.floor(centre + _PATCH * width_mm / spacing).astype(int) + 1
    patch = suv[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].astype(float)
    away_mm = [
        (np.arange(n) - c) * mm
        for n, c, mm in zip(patch.shape, centre - start, spacing, strict=True)
    ]
    x, y, z = np.meshgrid(*away_mm, indexing="ij", sparse=True)
    around = x**2 + y**2 + z**2 > width_mm**2
    channels = laguerre_gauss(
        patch.shape, spacing.tolist(), width_mm=width_mm, count=CHANNELS, centre=centre - start
    )
    return tuple(float(v) for v in channels @ (patch - patch[around].mean()).ravel())


def _contrast(case: Case, lesion: Lesion) -> float:
    """Return the uptake of a lesion over the mean of what was there without it."""
    across = np.linspace(-1, 1, _BALLS) * lesion.radius_mm
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
