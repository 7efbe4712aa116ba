"""Find the strongest deviation at each place, and the kind of each finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from petdiff.uncertainty.audit.record import FindingKind
from petdiff.uncertainty.audit.scales import AtScale
from petdiff.volume.regions import Mask, Spacing, Volume

Values = NDArray[np.float32]  # of some voxels, in the order of a mask

SUPPORT = 0.5  # of a focus's contrast, which the other scan needs to show the focus as well
TOLERANCE = 0.05  # share of the activity that may change without a finding; lab book, "The audit"
_JOINED_MM = 8.0  # a finding so close to the ball of a stronger one is left out


@dataclass(frozen=True, eq=False)
class Compared:
    """The comparison of two scans at one scale. Volumes are [i, j, k]; masks select voxels.

    relative_noise  noise at this scale over that at the finest
    level           noise at the finest scale
    z               difference in standard deviations, transformed to a normal variable; 0 outside
                    the body
    """

    measured: AtScale
    denoised: AtScale
    relative_noise: float
    level: Volume
    z: Volume

    def noise(self, at: Mask) -> Values:
        """Return the standard deviation of the difference by the measured scan's noise."""
        return np.float32(self.relative_noise) * self.level[at]

    def allowed(self, at: Mask) -> Values:
        """Return the standard deviation of noise and tolerance."""
        return allowed(self.noise(at), self.measured.mean[at], self.denoised.mean[at])

    def difference(self, at: Mask) -> Values:
        """Return the measured minus the denoised contrast."""
        return self.measured.contrast_at(at) - self.denoised.contrast_at(at)


def allowed(noise: Values, measured: Values, denoised: Values) -> Values:
    """Return the standard deviation of noise and tolerance.

    measured, denoised  mean activity of the two scans
    """
    tolerated = np.float32(TOLERANCE) * np.maximum(measured, denoised)
    return np.asarray(np.sqrt(noise**2 + tolerated**2))


class Peak(NamedTuple):
    """A local maximum of the deviation: its index on the working grid, its scale and z."""

    at: tuple[int, int, int]
    scale: int
    z: float


def peaks(scales: Sequence[Compared], needed: float, spacing_mm: Spacing) -> list[Peak]:
    """Return the peaks whose |z| is at least `needed`, the largest first, one at each place.

    Weaker ones near a peak are left out (non-maximum suppression). Scale and index of a peak are
    those of the largest difference in units of `Compared.allowed`. (z grows with the cube root of
    this difference, and would prefer large balls.)
    """
    height, which = _highest(scales, needed)
    top = (height > 0) & (height == maximum_filter(height, 3, mode="nearest"))
    candidates = np.argwhere(top)
    candidates = candidates[np.argsort(-height[top], kind="stable")]
    if not len(candidates):
        return []
    from scipy.spatial import cKDTree

    position_mm = candidates * np.array(spacing_mm)
    tree, remaining, found = cKDTree(position_mm), np.ones(len(candidates), dtype=bool), []
    for n, (i, j, k) in enumerate(candidates.tolist()):
        if remaining[n]:
            scale = int(which[i, j, k])
            reach_mm = scales[scale].measured.radius_mm + _JOINED_MM
            remaining[tree.query_ball_point(position_mm[n], reach_mm)] = False
            found.append(Peak((i, j, k), scale, float(scales[scale].z[i, j, k])))
    return found


def _highest(scales: Sequence[Compared], needed: float) -> tuple[Volume, NDArray[np.uint8]]:
    """Return the largest difference / allowed over the scales with |z| ≥ needed, and its scale."""
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


def focus_contrast(
    mean: Volume, at: tuple[int, int, int], radius_mm: float, spacing: Spacing
) -> float:
    """Return the mean of a ball minus the median of the six balls around it.

    mean  mean of the ball around each voxel [i, j, k]; the six balls are a diameter away along the
          axes

    A hot organ beside the ball raises one of the six, and therefore hardly their median. With a
    larger ball as background, the contrast would be negative, as for a cold focus.
    """
    around = []
    for axis, (centre, size) in enumerate(zip(at, spacing, strict=True)):
        step = max(round(2 * radius_mm / size), 1)
        for index in (centre - step, centre + step):
            place = list(at)
            place[axis] = min(max(index, 0), mean.shape[axis] - 1)
            around.append(mean[tuple(place)])
    return float(mean[at] - np.median(around))


def finding_kind(measured_contrast: float, denoised_contrast: float) -> FindingKind:
    """Return the kind of a difference, from the contrast of a focus in each of the two scans.

    A negative contrast is that of a cold focus. A scan whose contrast has the other sign does not
    show the focus.
    """
    sign = np.sign(max(measured_contrast, denoised_contrast, key=abs))
    measured, denoised = sign * measured_contrast, sign * denoised_contrast
    if measured < SUPPORT * denoised:
        return "fabrication"
    if denoised < SUPPORT * measured:
        return "omission"
    return "shift"
