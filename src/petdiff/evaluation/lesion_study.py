"""Lesions lost, foci invented: every patient scanned with and without lesions, noise seeds alike.

The scan with lesions says what is found. The scan without them says what is false: whatever the
true uptake does not show; air and the scan's ends are not read. How many false foci a full-dose
scan has anyway is the zero point, and lesions count as lost at an equal rate of false foci, not at
an equal threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.clinic.description import Lesion
from petdiff.evaluation.foci import (
    LEAST_SCORE,
    SAME_PLACE_MM,
    Affine,
    Foci,
    Volume,
    find_foci,
    unexplained,
)
from petdiff.evaluation.froc import area_interval
from petdiff.evaluation.regions import body_mask

SIZES_MM = (10.0, 15.0, 25.0)  # edges of the diameter's bins
CONTRASTS = (2.0, 4.0, 8.0)  # of the bins of uptake over what was there without the lesion
FALSE_PER_SCAN = 1.0
END_MM = 50.0  # of each end of the scan
ALL = "all"
_BALLS = 7  # points across a lesion, to average what was there without it


@dataclass(frozen=True, eq=False)
class Twins:
    """One patient's images with and without lesions, SUV [i, j, k], all else alike."""

    with_lesions: Volume
    without: Volume


@dataclass(frozen=True, eq=False)
class Case:
    """A patient as every method shows it.

    truth    what was scanned
    full     the full-dose scan, which others are held against
    scans    by method and dose reduction factor: the low-dose scan itself is a method too
    """

    patient: str
    affine: Affine
    lesions: Sequence[Lesion]
    truth: Twins
    full: Twins
    scans: Mapping[tuple[str, float], Twins]


@dataclass(frozen=True)
class Reading:
    """What the detector makes of one patient by one method: numbers only, JSON-able but for the
    infinite score of a lesion that has no focus.

    lesions   score of each lesion of the readable part, -inf where nothing was found
    sizes, contrasts  each lesion's stratum
    false     scores of the readable foci of the scan without lesions that the truth lacks
    invented  those of them that the full-dose scan without lesions does not show either
    """

    patient: str
    method: str
    dose: float
    lesions: tuple[float, ...]
    sizes: tuple[str, ...]
    contrasts: tuple[str, ...]
    false: tuple[float, ...]
    invented: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One number; `patient` and `stratum` are "all" for all of them together."""

    patient: str
    method: str
    dose: float
    metric: str
    stratum: str
    value: float


def lesion_study(
    cases: Iterable[Case],
    *,
    generator: np.random.Generator,
    false_per_scan: float = FALSE_PER_SCAN,
    resamples: int = 1000,
) -> list[Row]:
    """Read every case, one at a time, and sum up. See `read_case` and `summarise`, which a runner
    of many cases calls by themselves: readings are small, images are not."""
    readings = [reading for case in cases for reading in read_case(case)]
    return summarise(
        readings, generator=generator, false_per_scan=false_per_scan, resamples=resamples
    )


def read_case(case: Case) -> list[Reading]:
    """One reading a method, that of the full-dose scan ("full", dose 1) first."""
    readable = readable_part(case.truth.without, case.affine)

    def read(without: Foci) -> Foci:
        return without[_at(readable, case.affine, without.position_mm) > 0]

    lesions = [one for one in case.lesions if _at(readable, case.affine, one.centre_mm).all()]
    sizes = tuple(_bin(2 * lesion.radius_mm, SIZES_MM, "mm") for lesion in lesions)
    contrasts = tuple(_bin(_contrast(case, lesion), CONTRASTS, ":1") for lesion in lesions)
    readings = []
    for (method, dose), twins in {("full", 1.0): case.full, **case.scans}.items():
        without = find_foci(twins.without, case.affine)
        false = read(without)
        false = false[unexplained(false, case.truth.without, case.affine)]
        invented = false[unexplained(false, case.full.without, case.affine)]
        readings.append(
            Reading(
                case.patient,
                method,
                dose,
                lesion_scores(twins, case.affine, lesions),
                sizes,
                contrasts,
                tuple(map(float, false.score)),
                tuple(map(float, invented.score)),
            )
        )
    return readings


def readable_part(truth: Volume, affine: Affine) -> NDArray[np.bool_]:
    """Voxels where a reader would heed a focus: in the body, and off the ends of the scan, where a
    scanner sees next to nothing and every image is full of spikes."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    part = body_mask(truth, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    axis = int(np.argmax(np.abs(affine[2, :3]) / spacing))  # feet to head
    ends = min(round(END_MM / spacing[axis]), truth.shape[axis] // 2)
    along = np.moveaxis(part, axis, 0)  # a view
    along[:ends], along[len(along) - ends :] = False, False
    return part


def lesion_scores(twins: Twins, affine: Affine, lesions: Sequence[Lesion]) -> tuple[float, ...]:
    """Score of the best focus on each lesion: no farther from its centre than its radius and a
    scanner's resolution, and not at that spot in the scan without lesions, where it is none's."""
    found = find_foci(twins.with_lesions, affine)
    new = found[unexplained(found, twins.without, affine, same_place_mm=0)]
    scores = []
    for lesion in lesions:
        apart = np.linalg.norm(new.position_mm - np.array(lesion.centre_mm), axis=1)
        on_it = new.score[apart <= lesion.radius_mm + SAME_PLACE_MM]
        scores.append(float(on_it.max(initial=-np.inf)))
    return tuple(scores)


def summarise(
    readings: Sequence[Reading],
    *,
    generator: np.random.Generator,
    false_per_scan: float = FALSE_PER_SCAN,
    resamples: int = 1000,
) -> list[Row]:
    """Tidy rows of readings, the full-dose ones among them.

    Each method at each dose has the threshold that gives it `false_per_scan` false foci a scan.
    Of each patient:  lesions, found, lost and gained against full dose, false and invented foci
    at the threshold of the full-dose scan (what a reader used to full dose would be shown).
    Of all:  froc_area with _low and _high (over patients), sensitivity, miss_rate of each stratum.
    """
    groups = {key: list(group) for key, group in groupby(sorted(readings, key=_group), key=_group)}
    full = {reading.patient: reading for reading in groups["full", 1.0]}
    usual = _threshold(groups["full", 1.0], false_per_scan)
    rows: list[Row] = []
    for (method, dose), group in groups.items():
        threshold = _threshold(group, false_per_scan)
        for reading in group:
            counts = _counts(reading, full[reading.patient], threshold, usual)
            rows += [
                Row(reading.patient, method, dose, metric, ALL, float(value))
                for metric, value in counts.items()
            ]
        rows += [
            Row(ALL, method, dose, metric, stratum, value)
            for metric, stratum, value in _of_all(
                group, threshold, false_per_scan, generator, resamples
            )
        ]
    return rows


def _counts(
    reading: Reading, full: Reading, threshold: float, usual: float
) -> dict[str, int | np.intp]:
    found = np.array(reading.lesions) >= threshold
    at_full = np.array(full.lesions) >= usual
    return {
        "lesions": len(found),
        "found": found.sum(),
        "lost": (at_full & ~found).sum(),
        "gained": (found & ~at_full).sum(),
        "false_foci": (np.array(reading.false) >= usual).sum(),
        "invented_foci": (np.array(reading.invented) >= usual).sum(),
    }


def _of_all(
    group: Sequence[Reading],
    threshold: float,
    false_per_scan: float,
    generator: np.random.Generator,
    resamples: int,
) -> Iterator[tuple[str, str, float]]:
    area = area_interval(
        [one.lesions for one in group],
        [one.false for one in group],
        false_per_scan=false_per_scan,
        generator=generator,
        resamples=resamples,
    )
    yield "froc_area", ALL, area.value
    yield "froc_area_low", ALL, area.low
    yield "froc_area_high", ALL, area.high
    missed = np.concatenate([np.array(one.lesions) < threshold for one in group])
    yield "sensitivity", ALL, float(1 - missed.mean())
    sizes = np.array([size for one in group for size in one.sizes])
    contrasts = np.array([contrast for one in group for contrast in one.contrasts])
    for size in np.unique(sizes):
        for contrast in np.unique(contrasts[sizes == size]):
            here = (sizes == size) & (contrasts == contrast)
            stratum = f"{size}, {contrast}"
            yield "lesions", stratum, float(here.sum())
            yield "miss_rate", stratum, float(missed[here].mean())


def _threshold(group: Sequence[Reading], false_per_scan: float) -> float:
    """The least that keeps to so many false foci a scan: just above the first one too many, and
    the detector's own where there are not so many."""
    false = np.sort(np.concatenate([np.array(one.false) for one in group]))[::-1]
    allowed = int(false_per_scan * len(group))
    return float(np.nextafter(false[allowed], np.inf)) if len(false) > allowed else LEAST_SCORE


def _group(reading: Reading) -> tuple[str, float]:
    return reading.method, reading.dose


def _contrast(case: Case, lesion: Lesion) -> float:
    """Uptake of a lesion over the mean of what was there without it."""
    across = np.linspace(-1, 1, _BALLS) * lesion.radius_mm
    points = np.stack(np.meshgrid(across, across, across), axis=-1).reshape(-1, 3)
    points = points[np.linalg.norm(points, axis=1) <= lesion.radius_mm] + lesion.centre_mm
    before = float(_at(case.truth.without, case.affine, points).mean())
    return lesion.suv / max(before, 1e-6)


def _at(volume: NDArray[Any], affine: Affine, points_mm: ArrayLike) -> NDArray[np.float64]:
    """Values of the voxels nearest to points [n, 3] in mm."""
    index = (np.atleast_2d(np.asarray(points_mm, float)) - affine[:3, 3]) @ np.linalg.inv(
        affine[:3, :3]
    ).T
    nearest = np.clip(np.rint(index).astype(np.intp), 0, np.array(volume.shape) - 1)
    return np.asarray(volume[tuple(nearest.T)], dtype=float)


def _bin(value: float, edges: Sequence[float], unit: str) -> str:
    n = int(np.searchsorted(edges, value, side="right"))
    if n == 0:
        return f"below {edges[0]:g} {unit}"
    if n == len(edges):
        return f"{edges[-1]:g} {unit} and above"
    return f"{edges[n - 1]:g} to {edges[n]:g} {unit}"
