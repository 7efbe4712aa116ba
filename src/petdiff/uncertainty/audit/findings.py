"""From deviations to a list: the strongest one of each place, and what kind of error it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from petdiff.uncertainty.audit.record import Kind
from petdiff.uncertainty.audit.scales import AtScale
from petdiff.volume.regions import Spacing

Volume = NDArray[np.float32]
Values = NDArray[np.float32]  # of some voxels, in the order of a mask
Mask = NDArray[np.bool_]

SUPPORT = 0.5  # of a focus's contrast: with less in the other scan, that one does not show it
TOLERANCE = 0.05  # of the activity, which denoising may change unsaid; lab book, "The audit"
_APART_MM = 8.0  # findings nearer than this and their radii are one


@dataclass(frozen=True, eq=False)
class Compared:
    """A measured and a denoised scan at one scale; volumes are [i, j, k], masks choose voxels.

    reach    noise at this scale over that at the finest
    level    noise at the finest scale
    z        difference in standard deviations, made normal; 0 outside the body
    """

    measured: AtScale
    denoised: AtScale
    reach: float
    level: Volume
    z: Volume

    def noise(self, at: Mask) -> Values:
        """Return the standard deviation that the measured scan's noise gives the difference."""
        return np.float32(self.reach) * self.level[at]

    def allowed(self, at: Mask) -> Values:
        """Return the same with the tolerance."""
        return allowed(self.noise(at), self.measured.mean[at], self.denoised.mean[at])

    def difference(self, at: Mask) -> Values:
        """Return the measured less the denoised contrast."""
        return self.measured.contrast_at(at) - self.denoised.contrast_at(at)


def allowed(noise: Values, measured: Values, denoised: Values) -> Values:
    """Return a standard deviation that also covers the tolerance.

    measured, denoised  mean activity of the two scans
    """
    tolerated = np.float32(TOLERANCE) * np.maximum(measured, denoised)
    return np.asarray(np.sqrt(noise**2 + tolerated**2))


class Peak(NamedTuple):
    """A place of the working grid that deviates most around it: at which scale, and how far."""

    place: NDArray[np.intp]
    scale: int
    z: float

    @property
    def at(self) -> tuple[int, int, int]:
        """The place as an index."""
        i, j, k = (int(n) for n in self.place)
        return i, j, k


def peaks(scales: Sequence[Compared], needed: float, spacing_mm: Spacing) -> list[Peak]:
    """Return one peak for each place where a z is at or beyond `needed`, the largest first.

    Its scale and place are those of the largest difference in units of what is allowed. (A z grows
    like the cube root of it, and would prefer large balls.)
    """
    height, which = _highest(scales, needed)
    top = (height > 0) & (height == maximum_filter(height, 3, mode="nearest"))
    places = np.argwhere(top)
    places = places[np.argsort(-height[top], kind="stable")]
    if not len(places):
        return []
    where_mm = places * np.array(spacing_mm)
    tree, alive, found = cKDTree(where_mm), np.ones(len(places), dtype=bool), []
    for n, place in enumerate(places):
        if alive[n]:
            scale = int(which[tuple(place)])
            reach_mm = scales[scale].measured.radius_mm + _APART_MM
            alive[tree.query_ball_point(where_mm[n], reach_mm)] = False
            found.append(Peak(place, scale, float(scales[scale].z[tuple(place)])))
    return found


def _highest(scales: Sequence[Compared], needed: float) -> tuple[Volume, NDArray[np.uint8]]:
    """Return the largest difference over scales where a z is large enough, and its scale."""
    height = np.zeros(scales[0].z.shape, np.float32)
    which = np.zeros(height.shape, np.uint8)
    for n, scale in enumerate(scales):
        far = np.abs(scale.z) >= needed
        size = np.zeros_like(height)
        size[far] = np.abs(scale.difference(far)) / scale.allowed(far)
        larger = size > height
        height[larger] = size[larger]
        which[larger] = n
    return height, which


def stands_out(mean: Volume, at: tuple[int, int, int], radius_mm: float, spacing: Spacing) -> float:
    """Return how far a ball stands out of the balls around it: its mean less their median.

    mean  of the ball around each voxel [i, j, k]; the others are a diameter away along each axis

    A hot organ beside the ball raises one of the six, and hence hardly their median. It would make
    the contrast to a larger ball negative, as if the place were a cold focus.
    """
    around = []
    for axis, (here, size) in enumerate(zip(at, spacing, strict=True)):
        step = max(round(2 * radius_mm / size), 1)
        for there in (here - step, here + step):
            place = list(at)
            place[axis] = min(max(there, 0), mean.shape[axis] - 1)
            around.append(mean[tuple(place)])
    return float(mean[at] - np.median(around))


def kind_of(measured_contrast: float, denoised_contrast: float) -> Kind:
    """Say what a difference is, from how far a focus stands out in each of the two scans.

    A contrast below zero is that of a cold focus. One of the other sign supports nothing.
    """
    sign = np.sign(max(measured_contrast, denoised_contrast, key=abs))
    measured, denoised = sign * measured_contrast, sign * denoised_contrast
    if measured < SUPPORT * denoised:
        return "fabrication"
    if denoised < SUPPORT * measured:
        return "omission"
    return "shift"
