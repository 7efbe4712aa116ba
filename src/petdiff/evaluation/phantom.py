"""The NEMA NU 2 image quality phantom: contrast recovery, background variability, EARL limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    label,
    sum_labels,
)

from petdiff.errors import InputRefused
from petdiff.volume.regions import Spacing, Volume, ball, sphere_weights

Index = tuple[float, float, float]

DIAMETERS_MM = (37.0, 28.0, 22.0, 17.0, 13.0, 10.0)
# Bands for spheres ten times as hot as the background, by diameter: mean within the 50 % contour,
# and maximum (EANM Research Ltd, specifications of 2017 and 2019).
EARL = MappingProxyType(
    {
        1: (
            ((0.76, 0.89), (0.72, 0.85), (0.63, 0.78), (0.57, 0.73), (0.44, 0.60), (0.27, 0.43)),
            ((0.95, 1.16), (0.91, 1.13), (0.83, 1.09), (0.73, 1.01), (0.59, 0.85), (0.34, 0.57)),
        ),
        2: (
            ((0.85, 1.00), (0.82, 0.97), (0.80, 0.99), (0.76, 0.97), (0.63, 0.86), (0.39, 0.61)),
            ((1.05, 1.29), (1.01, 1.26), (1.01, 1.32), (1.00, 1.38), (0.85, 1.22), (0.52, 0.88)),
        ),
    }
)
_SMOOTHING_MM = 2.5  # σ of the filter before the search for spheres
_ONE_PLANE_MM = 10.0
_RIM_MM = 3.0  # width of a sphere's smoothed edge
_AROUND_MM = 8.0  # the hottest voxel may be this far outside a sphere
_ROIS = 12  # in each of five slices
_SLICES_MM = (-20.0, -10.0, 0.0, 10.0, 20.0)
# At 3 mm the blurred edges of the spheres count as noise: after a filter of 12 mm FWHM as a COV of
# 10 %. The 15 mm of NU 2 leave no room for twelve discs side by side.
_FROM_EDGE_MM, _FROM_SPHERES_MM = 15.0, 8.0
_CORE_MM = 10.0  # radius of the part of the largest sphere without partial-volume effect


@dataclass(frozen=True)
class SphereFigures:
    """One sphere.

    centre                  voxel index
    mean                    of voxels whose centres lie within the true radius
    maximum                 of voxels at most 8 mm outside it
    mean_a50                of those of them above half way from background to maximum
    contrast_percent        Q of NU 2, from a disc in the spheres' plane; None without a ratio
    variability_percent     N of NU 2, over the background's 60 discs of that diameter
    recovery_mean, _max     mean_a50 and maximum over the true activity
    earl                    by version: whether the recoveries, mean and max, lie in its bands
    """

    diameter_mm: float
    centre: Index
    mean: float
    maximum: float
    mean_a50: float
    contrast_percent: float | None
    variability_percent: float
    recovery_mean: float
    recovery_max: float
    earl: dict[int, dict[str, bool]]


@dataclass(frozen=True)
class PhantomFigures:
    """The phantom's background, the true activity of the spheres, and the spheres.

    The background is the mean of the 60 discs of 37 mm; its coefficient of variation is that of the
    voxels of the discs in the spheres' slice. Spheres are ordered from large to small.
    """

    background_mean: float
    background_cov: float
    sphere_activity: float
    spheres: tuple[SphereFigures, ...]


def measure_phantom(
    volume: Volume,
    spacing_mm: Spacing,
    *,
    ratio: float | None = None,
    sphere_activity: float | None = None,
) -> PhantomFigures:
    """Find the six spheres and the background of a scan of the phantom, and measure them.

    volume           [i, j, k] in any unit, the phantom's axis along k
    ratio            of the spheres' activity to the background's as filled, for Q
    sphere_activity  as filled, in the volume's unit; else the mean within 10 mm of the largest
                     sphere's centre, which has no partial-volume effect

    After NEMA NU 2-2018, section 7, but the background's twelve discs are placed automatically:
    far from each other, at least 15 mm within the phantom's edge, at least 8 mm from the spheres
    (15 mm in NU 2), and outside the lung insert. Raises InputRefused if six spheres in a warm
    background are not found.
    """
    centres = find_spheres(volume, spacing_mm)
    slices = _slices(volume.shape[2], spacing_mm, centres)
    points = _background_points(volume, spacing_mm, centres, slices[2])
    background = _Background(volume, spacing_mm, points, slices)
    largest = _Discs(DIAMETERS_MM[0], spacing_mm)
    voxels = np.concatenate([largest.values(volume, point, slices[2]) for point in points])
    cov = float(voxels.std(dtype=np.float64) / voxels.mean(dtype=np.float64))
    if sphere_activity is None:
        core = ball(volume.shape, spacing_mm, centres[0], _CORE_MM)
        sphere_activity = float(volume[core].mean(dtype=np.float64))
    spheres = tuple(
        _measure_sphere(number, centre, background, ratio, sphere_activity)
        for number, centre in enumerate(centres)
    )
    return PhantomFigures(background.mean, cov, sphere_activity, spheres)


def find_spheres(volume: Volume, spacing_mm: Spacing) -> list[Index]:
    """Find the centres of the six spheres as voxel indices, the largest (hottest) first.

    A sphere is a hot part of the smoothed scan in the plane of the hottest one. Its centre is the
    centroid of the excess over the background within the sphere and 3 mm around it. Raises
    InputRefused for fewer than six.
    """
    background = _typical(volume)
    smooth = gaussian_filter(volume, [_SMOOTHING_MM / size for size in spacing_mm])
    excess = smooth - background
    phantom = smooth > background / 2
    spread = 1.4826 * np.median(np.abs(excess[phantom])) if phantom.any() else 0.0
    threshold = max(0.3 * background, 6 * float(spread))
    parts, count = label(excess > threshold)
    numbers = np.arange(1, count + 1)
    heat = sum_labels(excess, parts, numbers) if count else np.zeros(0)
    ranked = [int(n) for n in numbers[np.argsort(-heat)]]
    found: list[Index] = []
    for number in ranked:
        if len(found) == len(DIAMETERS_MM):
            break
        start = np.argwhere(parts == number).mean(axis=0)
        if not found or abs(start[2] - found[0][2]) * spacing_mm[2] <= _ONE_PLANE_MM:
            radius_mm = DIAMETERS_MM[len(found)] / 2 + _RIM_MM
            centre = _centroid(excess, spacing_mm, start, radius_mm)
            if centre is not None:
                found.append(centre)
    if len(found) < len(DIAMETERS_MM):
        raise InputRefused(
            f"found {len(found)} hot spheres in one plane; the phantom has six: give a scan "
            "of the NEMA image quality phantom with hot spheres and its axis along the slices"
        )
    return found


def _typical(volume: Volume) -> float:
    """Return the background's value: the median above 5 % of the 99.5th percentile."""
    top = float(np.percentile(volume, 99.5))
    inside = volume[volume > 0.05 * top]
    if top <= 0 or inside.size == 0:
        raise InputRefused("the scan is empty: give one of the NEMA image quality phantom")
    return float(np.median(inside))


def _centroid(
    excess: Volume, spacing_mm: Spacing, start: NDArray[np.float64], radius_mm: float
) -> Index | None:
    """Return the centroid of the excess within a sphere around it, by iteration from `start`.

    None if there is no excess, as in the cold middle of a hot wall, which is no sphere.
    """
    centre = start
    for _ in range(20):
        box, shares = sphere_weights(excess.shape, spacing_mm, centre.tolist(), radius_mm)
        weights = np.maximum(excess[box], 0) * shares
        if not weights.any():
            return None
        index = np.meshgrid(*(np.arange(c.start, c.stop) for c in box), indexing="ij")
        moved = np.array([(axis * weights).sum() for axis in index]) / weights.sum()
        settled = np.abs(moved - centre).max() < 1e-3
        centre = moved
        if settled:
            break
    i, j, k = centre.tolist()
    return i, j, k


class _Discs:
    """Circular regions of one diameter in an axial slice, with partly covered pixels."""

    def __init__(self, diameter_mm: float, spacing_mm: Spacing) -> None:
        self.radius_mm = diameter_mm / 2
        self.spacing_mm = spacing_mm

    def shares(
        self, shape: tuple[int, ...], point: Sequence[float]
    ) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
        """Return the pixels around a point [i, j], and the covered fraction of each."""
        fine = (np.arange(10) + 0.5) / 10 - 0.5
        cuts, squares = [], []
        for n, at, size in zip(shape[:2], point, self.spacing_mm[:2], strict=True):
            reach = self.radius_mm / size + 0.5
            first, last = max(int(np.ceil(at - reach)), 0), min(int(at + reach) + 1, n)
            cuts.append(slice(first, last))
            squares.append((np.add.outer(np.arange(first, last) - at, fine) * size).ravel() ** 2)
        inside = np.add.outer(*squares) <= self.radius_mm**2
        blocks = inside.reshape(len(squares[0]) // 10, 10, len(squares[1]) // 10, 10)
        return (cuts[0], cuts[1]), blocks.mean(axis=(1, 3))

    def mean(self, volume: Volume, point: Sequence[float], k: int) -> float:
        cut, shares = self.shares(volume.shape, point)
        return float((volume[(*cut, k)] * shares).sum() / shares.sum())

    def values(self, volume: Volume, point: Sequence[float], k: int) -> Volume:
        """Return the pixels at least half covered."""
        cut, shares = self.shares(volume.shape, point)
        return volume[(*cut, k)][shares >= 0.5]


@dataclass(frozen=True, eq=False)
class _Background:
    """The background of a scan of the phantom [i, j, k].

    points  pixels [i, j] at the centres of its twelve discs
    slices  numbers k of its five slices; the third is the spheres'
    """

    volume: Volume
    spacing_mm: Spacing
    points: Sequence[tuple[int, int]]
    slices: Sequence[int]

    def means(self, discs: _Discs) -> NDArray[np.float64]:
        """Return the means of the 60 discs of one diameter."""
        return np.array([discs.mean(self.volume, p, k) for k in self.slices for p in self.points])

    @cached_property
    def mean(self) -> float:
        """The mean of the discs of 37 mm."""
        return float(self.means(_Discs(DIAMETERS_MM[0], self.spacing_mm)).mean())


def _slices(planes: int, spacing_mm: Spacing, centres: Sequence[Index]) -> list[int]:
    """Return the spheres' slice and the slices about 1 and 2 cm away on both sides."""
    middle = round(float(np.mean([centre[2] for centre in centres])))
    found = [middle + round(away / spacing_mm[2]) for away in _SLICES_MM]
    if min(found) < 0 or max(found) >= planes:
        raise InputRefused("the scan ends within 2 cm of the spheres, where background is measured")
    return found


def _background_points(
    volume: Volume, spacing_mm: Spacing, centres: Sequence[Index], plane: int
) -> list[tuple[int, int]]:
    """Choose twelve pixels [i, j], far apart, each the centre of a 37 mm disc of background."""
    background = _typical(volume)
    thick = volume[:, :, max(plane - 2, 0) : plane + 3].mean(axis=2)
    smooth = gaussian_filter(thick, [3.0 / size for size in spacing_mm[:2]])
    phantom = binary_fill_holes(smooth > background / 2)
    warm = phantom & (smooth > 0.75 * background)
    for centre, diameter_mm in zip(centres, DIAMETERS_MM, strict=True):
        reach = diameter_mm / 2 + _FROM_SPHERES_MM
        near = ball((*phantom.shape, 1), spacing_mm, (*centre[:2], 0.0), reach)
        warm &= ~near[:, :, 0]
    radius_mm = DIAMETERS_MM[0] / 2
    edge, clear = (distance_transform_edt(m, sampling=spacing_mm[:2]) for m in (phantom, warm))
    room = np.argwhere((edge >= radius_mm + _FROM_EDGE_MM) & (clear >= radius_mm))
    if len(room) < _ROIS:
        raise InputRefused("the background has no room for discs of 37 mm: is this the phantom?")
    where_mm = room * spacing_mm[:2]
    chosen = [int(np.argmax(np.linalg.norm(where_mm - where_mm.mean(axis=0), axis=1)))]
    nearest = np.full(len(room), np.inf)
    for _ in range(_ROIS - 1):
        away = np.linalg.norm(where_mm - where_mm[chosen[-1]], axis=1)
        nearest = np.minimum(nearest, away)
        chosen.append(int(nearest.argmax()))
    return [(int(i), int(j)) for i, j in room[chosen]]


def _measure_sphere(
    number: int, centre: Index, background: _Background, ratio: float | None, activity: float
) -> SphereFigures:
    diameter_mm, volume, spacing_mm = DIAMETERS_MM[number], background.volume, background.spacing_mm
    inside = ball(volume.shape, spacing_mm, centre, diameter_mm / 2)
    around = volume[ball(volume.shape, spacing_mm, centre, diameter_mm / 2 + _AROUND_MM)]
    maximum = float(around.max())
    mean_a50 = float(around[around >= (maximum + background.mean) / 2].mean(dtype=np.float64))
    discs = _Discs(diameter_mm, spacing_mm)
    hot, warm = discs.mean(volume, centre[:2], background.slices[2]), background.means(discs)
    quality = None if ratio is None else float(100 * (hot / warm.mean() - 1) / (ratio - 1))
    recoveries = {"mean": mean_a50 / activity, "max": maximum / activity}
    within_limits = {
        version: {
            name: band[number][0] <= value <= band[number][1]
            for (name, value), band in zip(recoveries.items(), bands, strict=True)
        }
        for version, bands in EARL.items()
    }
    return SphereFigures(
        diameter_mm=diameter_mm,
        centre=centre,
        mean=float(volume[inside].mean(dtype=np.float64)),
        maximum=maximum,
        mean_a50=mean_a50,
        contrast_percent=quality,
        variability_percent=float(100 * warm.std(ddof=1) / warm.mean()),
        recovery_mean=recoveries["mean"],
        recovery_max=recoveries["max"],
        earl=within_limits,
    )
