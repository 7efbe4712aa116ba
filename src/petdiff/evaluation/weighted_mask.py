"""Measure a region: SUVmean, SUVmax, SUVpeak, total activity, 41 % isocontour volume.

The region is a weighted mask, which has the fraction of each voxel that is in the region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from scipy.signal import fftconvolve

from petdiff.errors import InputRefused
from petdiff.image import spacing_of
from petdiff.volume.regions import (
    Box,
    Spacing,
    Volume,
    grown,
    label_boxes,
    sphere_weights,
    voxel_ml,
)

PEAK_RADIUS_MM = 10 * (3 / (4 * np.pi)) ** (1 / 3)  # of 1 cm³
_ISOCONTOUR = 0.41  # of SUVmax
_MARGIN_MM = 10.0  # an isocontour may extend this far beyond its region
MIN_VISIBLE_FRACTION = 0.99  # to compare a region with its true figures


@dataclass(frozen=True, eq=False)
class WeightedMask:
    """A region on a grid, such as a lesion.

    name              its name in tables
    box               the region and the margin that is needed to measure it
    weights           the fraction of each voxel of the box that is in the region [i, j, k]
    volume_ml         of the whole region
    true_suv          its true uptake, if known and uniform
    visible_fraction  fraction of its volume in the field of view
    """

    name: str
    box: Box
    weights: NDArray[np.float64]
    volume_ml: float
    true_suv: float | None = None
    visible_fraction: float = 1.0

    @property
    def core(self) -> NDArray[np.bool_]:
        """Voxels at least half in the region; the voxel of largest weight if there are none."""
        return np.asarray(self.weights >= min(0.5, float(self.weights.max())))


def sphere_mask(
    name: str,
    centre_mm: Sequence[float],
    radius_mm: float,
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    true_suv: float | None = None,
) -> WeightedMask:
    """Return the mask of a sphere around a point in mm (RAS+), on a grid of `shape` and `affine`.

    Raises InputRefused if less than half of it is in the field of view.
    """
    spacing_mm = spacing_of(affine)
    a, b, c = spacing_mm
    centre = np.linalg.solve(affine, [*centre_mm, 1.0])[:3]
    inner, shares = sphere_weights(shape, spacing_mm, centre.tolist(), radius_mm)
    volume_ml = 4 / 3 * np.pi * radius_mm**3 / 1000
    to_edges_mm = (centre + 0.5) * spacing_mm, (np.array(shape) - 0.5 - centre) * spacing_mm
    # The shares of a small sphere add up to its volume only within a few per cent.
    is_cut = bool((np.minimum(*to_edges_mm) < radius_mm).any())
    visible = min(float(shares.sum()) * a * b * c / 1000 / volume_ml, 1.0) if is_cut else 1.0
    if visible < 0.5 or not shares.any():
        at = ", ".join(f"{mm:.0f}" for mm in centre_mm)
        raise InputRefused(
            f"{name} at ({at}) mm is outside the scan's field of view: remove it from the list, "
            "or give the list that belongs to this scan"
        )
    return mask_from_shares(name, inner, shares, shape, spacing_mm, volume_ml, true_suv, visible)


def label_masks(
    labels: NDArray[np.int32], spacing_mm: Spacing, name_of: Callable[[int], str]
) -> dict[int, WeightedMask]:
    """Return the mask of each label above 0 of a volume [i, j, k], by label, in their order."""
    found = {}
    for number, box in label_boxes(labels).items():
        shares = (labels[box] == number).astype(np.float64)
        volume_ml = float(shares.sum()) * voxel_ml(spacing_mm)
        found[number] = mask_from_shares(
            name_of(number), box, shares, labels.shape, spacing_mm, volume_ml
        )
    return found


def measure_mask(
    mask: WeightedMask, suv: Volume, spacing_mm: Spacing, *, contour: bool = True
) -> dict[str, float | None]:
    """Measure a region in one scan; `contour`: also its 41 % isocontour volume.

    suv_mean      over the region; voxels have the weight of their fraction in it
    suv_max       over its core
    suv_peak      highest mean over 1 cm³ spheres centred on a voxel of the core (Wahl 2009)
    activity      SUV times volume, summed over the region, in SUV·ml
    volume_41_ml  voxels of at least 41 % of suv_max connected with the hottest one; None if they
                  extend more than 10 mm beyond the region: the contour then follows other uptake
    """
    values = suv[mask.box].astype(np.float64)
    total = float((mask.weights * values).sum())
    core = mask.core
    return {
        "suv_mean": total / float(mask.weights.sum()),
        "suv_max": float(values[core].max()),
        "suv_peak": _peak(values, core, spacing_mm),
        "activity": total * voxel_ml(spacing_mm),
        "volume_41_ml": _isocontour(values, core, mask.weights > 0, spacing_mm)
        if contour
        else None,
    }


def true_figures(mask: WeightedMask) -> dict[str, float]:
    """Return the figures of an ideal scanner for a region of known, uniform uptake.

    Empty if the uptake is unknown, or a part of the region is outside the field of view.
    """
    if mask.true_suv is None or mask.visible_fraction < MIN_VISIBLE_FRACTION:
        return {}
    return {
        "suv_mean": mask.true_suv,
        "suv_max": mask.true_suv,
        "activity": mask.true_suv * mask.volume_ml,
        "volume_41_ml": mask.volume_ml,
    }


def mask_from_shares(
    name: str,
    inner: Box,
    shares: NDArray[np.float64],
    shape: tuple[int, ...],
    spacing_mm: Spacing,
    volume_ml: float,
    true_suv: float | None = None,
    visible_fraction: float = 1.0,
) -> WeightedMask:
    """Return the mask whose voxels have these shares in the box `inner`; a margin is added."""
    # Two voxels more than the isocontour may extend, to detect that it extends further.
    box = grown(inner, shape, spacing_mm, _MARGIN_MM + 2 * max(spacing_mm))
    margins = [
        (small.start - wide.start, wide.stop - small.stop)
        for small, wide in zip(inner, box, strict=True)
    ]
    return WeightedMask(name, box, np.pad(shares, margins), volume_ml, true_suv, visible_fraction)


def _peak(values: NDArray[np.float64], core: NDArray[np.bool_], spacing_mm: Spacing) -> float:
    half = [int(np.ceil(PEAK_RADIUS_MM / size + 0.5)) for size in spacing_mm]
    sizes = tuple(2 * n + 1 for n in half)
    box, shares = sphere_weights(sizes, spacing_mm, half, PEAK_RADIUS_MM)
    kernel = np.zeros(sizes)
    kernel[box] = shares
    sums = fftconvolve(values, kernel, mode="same")
    # Spheres that reach out of the field count with the part that lies in it.
    within = fftconvolve(np.ones_like(values), kernel, mode="same")
    return float((sums[core] / within[core]).max())


def _isocontour(
    values: NDArray[np.float64],
    core: NDArray[np.bool_],
    region: NDArray[np.bool_],
    spacing_mm: Spacing,
) -> float | None:
    hottest = np.unravel_index(int(np.where(core, values, -np.inf).argmax()), values.shape)
    parts, _ = label(values >= _ISOCONTOUR * values[hottest], structure=np.ones((3, 3, 3)))
    part = parts == parts[hottest]
    beyond = distance_transform_edt(~region, sampling=spacing_mm) > _MARGIN_MM
    if values[hottest] <= 0 or (part & beyond).any():
        return None
    return float(part.sum() * voxel_ml(spacing_mm))
