"""What a reader measures in a lesion: SUVmean, SUVmax, SUVpeak, total activity, 41 % volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from scipy.signal import fftconvolve

from petdiff.errors import InputRefused
from petdiff.volume.regions import Box, Spacing, grown, label_boxes, sphere_weights

Volume = NDArray[np.float32]

PEAK_RADIUS_MM = 10 * (3 / (4 * np.pi)) ** (1 / 3)  # of 1 cm³
_ISOCONTOUR = 0.41  # of SUVmax
_AROUND_MM = 10.0  # how far an isocontour may leave its lesion
_ALL_SEEN = 0.99  # of a lesion, from where on it may be compared with all of it


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion on a grid.

    name       how it is called in tables
    box        the voxels around it that measuring needs
    weights    the share of each of these voxels that belongs to the lesion
    suv        its true uptake, where it is known and the same throughout
    volume_ml  of the lesion, all of it
    seen       the share of it that lies in the field of view
    """

    name: str
    box: Box
    weights: NDArray[np.float64]
    suv: float | None
    volume_ml: float
    seen: float = 1.0

    @property
    def core(self) -> NDArray[np.bool_]:
        """The voxels at least half inside; the fullest one where there is none."""
        return np.asarray(self.weights >= min(0.5, float(self.weights.max())))


def sphere_lesion(
    name: str,
    centre_mm: Sequence[float],
    radius_mm: float,
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    suv: float | None = None,
) -> Lesion:
    """Return a ball about a point in mm (RAS+) of the grid of `shape` and `affine`.

    Raises InputRefused where less than half of it lies in the field of view.
    """
    a, b, c = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    spacing_mm = (a, b, c)
    centre = np.linalg.solve(affine, [*centre_mm, 1.0])[:3]
    inner, shares = sphere_weights(shape, spacing_mm, centre.tolist(), radius_mm)
    volume_ml = 4 / 3 * np.pi * radius_mm**3 / 1000
    reaches = (centre + 0.5) * spacing_mm, (np.array(shape) - 0.5 - centre) * spacing_mm
    # The shares of a small ball add up to its volume within some per cent only.
    cut = bool((np.minimum(*reaches) < radius_mm).any())
    seen = float(shares.sum()) * a * b * c / 1000 / volume_ml if cut else 1.0
    if seen < 0.5 or not shares.any():
        at = ", ".join(f"{mm:.0f}" for mm in centre_mm)
        raise InputRefused(
            f"{name} at ({at}) mm lies outside the scan's field of view: take it off the list, "
            "or give the list that belongs to this scan"
        )
    return lesion_of_shares(name, inner, shares, shape, spacing_mm, volume_ml, suv, seen)


def labelled_lesions(labels: NDArray[np.int32], spacing_mm: Spacing) -> list[Lesion]:
    """Return a lesion per label; per connected part where there is only one label.

    Raises InputRefused where there is none.
    """
    boxes = label_boxes(labels)
    if not boxes:
        raise InputRefused("the lesion volume holds no lesion: every voxel is 0")
    if len(boxes) == 1:
        labels, _ = label(labels > 0, structure=np.ones((3, 3, 3)))
        boxes = label_boxes(labels)
    found = []
    for number, box in boxes.items():
        shares = (labels[box] == number).astype(np.float64)
        volume_ml = float(shares.sum() * np.prod(spacing_mm) / 1000)
        found.append(
            lesion_of_shares(f"lesion {number}", box, shares, labels.shape, spacing_mm, volume_ml)
        )
    return found


def measure_lesion(
    lesion: Lesion, suv: Volume, spacing_mm: Spacing, *, contour: bool = True
) -> dict[str, float | None]:
    """Measure the lesion in one scan; `contour`: its 41 % volume too.

    suv_mean      over the lesion, partly covered voxels by their share
    suv_max       over its core
    suv_peak      highest mean over 1 cm³ spheres centred on a voxel of the core (Wahl 2009)
    activity      SUV times volume, summed over the lesion, in SUV·ml
    volume_41_ml  voxels of at least 41 % of suv_max connected with the hottest one; None where they
                  go on 10 mm beyond the lesion, for then the contour follows something else
    """
    values = suv[lesion.box].astype(np.float64)
    total = float((lesion.weights * values).sum())
    core = lesion.core
    millilitre = float(np.prod(spacing_mm)) / 1000
    return {
        "suv_mean": total / float(lesion.weights.sum()),
        "suv_max": float(values[core].max()),
        "suv_peak": _peak(values, core, spacing_mm),
        "activity": total * millilitre,
        "volume_41_ml": _isocontour(values, core, lesion.weights > 0, spacing_mm, millilitre)
        if contour
        else None,
    }


def true_figures(lesion: Lesion) -> dict[str, float]:
    """Return what a perfect scanner would measure in a lesion of known, even uptake.

    Empty where the uptake is not known, and where the field of view cuts the lesion.
    """
    if lesion.suv is None or lesion.seen < _ALL_SEEN:
        return {}
    return {
        "suv_mean": lesion.suv,
        "suv_max": lesion.suv,
        "activity": lesion.suv * lesion.volume_ml,
        "volume_41_ml": lesion.volume_ml,
    }


def lesion_of_shares(
    name: str,
    inner: Box,
    shares: NDArray[np.float64],
    shape: tuple[int, ...],
    spacing_mm: Spacing,
    volume_ml: float,
    suv: float | None = None,
    seen: float = 1.0,
) -> Lesion:
    """Return the lesion whose voxels have these shares in the box `inner`; the rest is margin."""
    # Two voxels more than the isocontour may take, to see whether it would go on.
    box = grown(inner, shape, spacing_mm, _AROUND_MM + 2 * max(spacing_mm))
    margins = [
        (small.start - wide.start, wide.stop - small.stop)
        for small, wide in zip(inner, box, strict=True)
    ]
    return Lesion(name, box, np.pad(shares, margins), suv, volume_ml, seen)


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
    lesion: NDArray[np.bool_],
    spacing_mm: Spacing,
    millilitre: float,
) -> float | None:
    hottest = np.unravel_index(int(np.where(core, values, -np.inf).argmax()), values.shape)
    parts, _ = label(values >= _ISOCONTOUR * values[hottest], structure=np.ones((3, 3, 3)))
    part = parts == parts[hottest]
    beyond = distance_transform_edt(~lesion, sampling=spacing_mm) > _AROUND_MM
    if values[hottest] <= 0 or (part & beyond).any():
        return None
    return float(part.sum() * millilitre)
