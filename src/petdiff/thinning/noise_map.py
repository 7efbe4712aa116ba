"""Estimate the noise of each voxel of a scan from the scan alone.

The map is a product of three factors: the expected noise of each voxel from counts (`expected`), a
smooth correction along the axis from the finest details of each slice, and the strength of the
noise of the whole scan, from its most uniform parts (`colour`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter1d

from petdiff.errors import InputRefused
from petdiff.thinning.colour import NoiseColour, noise_colour
from petdiff.thinning.expected import expected_noise, measured_lines
from petdiff.thinning.texture import Texture, local_texture
from petdiff.volume.plane_ranges import smoothed
from petdiff.volume.regions import Mask, Spacing, Volume, body_mask, filled_slices, typical_uptake

_ACTIVITY_SIGMA_MM = 3.0  # of the Gaussian that smooths the activity
_LOWEST_ACTIVITY = 1e-3  # of the typical one
# The correction along the axis: beds and their overlap change the noise from slice to slice.
_AXIAL_SIGMA_MM, _AXIAL_POWER = 15.0, 0.7
_MIN_IN_SLICE = 50  # voxels
_DIFFERENCE_MM = 5.5  # between the voxels of a second difference
# Part of the level is anatomy. Fitted on 47 simulated patients (lab book 35).
_ANATOMY_BELOW, _ANATOMY_POWER = 0.33, 0.114  # level, and power in voxels of the larger size
_ANATOMY_MM = 3.0, 6.0  # voxel sizes with no and with full correction


@dataclass(frozen=True, eq=False)
class NoiseMap:
    """The noise of a scan [i, j, k].

    relative  standard deviation of each voxel over its activity
    activity  the scan's activity, smoothed by a Gaussian of σ = 3 mm, above 0 everywhere
    body      voxels that are not air
    colour    correlation of the noise, its mean over the body
    texture   how that correlation differs from place to place
    """

    relative: Volume
    activity: Volume
    body: Mask
    colour: NoiseColour
    texture: Texture

    @property
    def median(self) -> float:
        """Median of the relative noise over the body."""
        return float(np.median(self.relative[self.body]))


def noise_map(scan: Volume, spacing_mm: Spacing) -> NoiseMap:
    """Estimate the noise of a scan whose axis is k.

    Raises InputRefused for a scan that is too small or has no activity or no noise.
    """
    positive = np.maximum(scan, 0)
    activity = smoothed(positive, [_ACTIVITY_SIGMA_MM / mm for mm in spacing_mm])
    typical = typical_uptake(activity)
    if not typical > 0:
        raise InputRefused("the scan has no activity, so it has no noise to measure")
    np.maximum(activity, np.float32(_LOWEST_ACTIVITY * typical), out=activity)
    body = filled_slices(body_mask(positive, spacing_mm))
    lines = measured_lines(activity * body, body, spacing_mm)
    relative = expected_noise(activity, body, lines)
    details = np.abs(second_differences(scan, spacing_mm)) / (relative * activity)
    relative *= _along_axis(details, body, spacing_mm[2])
    colour = noise_colour(scan, relative * activity, body, spacing_mm)
    relative *= np.float32(without_anatomy(colour.level, spacing_mm))
    texture = local_texture(activity, body, lines, spacing_mm)
    return NoiseMap(relative, activity, body, colour, texture)


def without_anatomy(level: float, spacing_mm: Spacing) -> float:
    """Return the relative noise of a scan whose most uniform parts vary by `level`.

    Even the most uniform parts contain some anatomy. Its share is larger in scans with less noise,
    and in large voxels, which do not resolve the frequencies without anatomy.
    """
    size_mm = float(np.prod(spacing_mm)) ** (1 / 3)
    large = np.interp(size_mm, _ANATOMY_MM, (0, 1))
    return float(level * min(level / _ANATOMY_BELOW, 1) ** (_ANATOMY_POWER * large))


def second_differences(scan: Volume, spacing_mm: Spacing) -> Volume:
    """Return the scan filtered by (-¼, ½, -¼) along all axes, between voxels 5.5 mm apart."""
    for axis, mm in enumerate(spacing_mm):
        apart = max(1, round(_DIFFERENCE_MM / mm))
        weights = np.zeros(2 * apart + 1)
        weights[[0, apart, -1]] = -0.25, 0.5, -0.25
        scan = correlate1d(scan, weights, axis=axis, mode="nearest")
    return scan


def _along_axis(details: Volume, body: Mask, slice_mm: float) -> Volume:
    """Return the strength of the finest details of each slice [k] over the expected strength.

    The median over a slice depends little on the edges of organs. Only ratios are used.
    """
    logs = np.full(details.shape[2], np.nan)
    for k in range(len(logs)):
        inside = details[..., k][body[..., k]]
        middle = float(np.median(inside)) if len(inside) >= _MIN_IN_SLICE else 0.0
        if middle > 0:
            logs[k] = np.log(middle)
    if np.isnan(logs).all():
        return np.ones(len(logs), np.float32)
    typical = float(np.nanmedian(logs))
    above = np.where(np.isnan(logs), 0, logs - typical)
    smooth = gaussian_filter1d(above, _AXIAL_SIGMA_MM / slice_mm, mode="nearest")
    return np.asarray(np.exp(_AXIAL_POWER * smooth), np.float32)
