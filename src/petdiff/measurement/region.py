"""Regions to measure on the grid of a scan, from masks, labels or spheres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.weighted_mask import (
    MIN_VISIBLE_FRACTION,
    WeightedMask,
    label_masks,
    mask_from_shares,
    sphere_mask,
)
from petdiff.image import PETImage
from petdiff.simulation.labels.label_names import is_organ
from petdiff.uncertainty.calibration.record import RegionKind
from petdiff.volume.regions import bounding_box, voxel_ml

__all__ = [
    "Region",
    "RegionKind",
    "ball_region",
    "label_regions",
    "mask_region",
    "region_kind",
    "shares_region",
]  # fmt: skip

_A_VOXEL = 1 - 1e-6
# Parts of words: "brain metastasis" is not the brain.
_DISEASE = (
    "lesion", "tumor", "tumour", "metast", "mass", "cancer", "carcin", "lymphom", "sarcom",
    "nodule", "gtv", "ctv", "ptv",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Region:
    """A region on the grid of a scan.

    kind  lesion, organ, sphere or focus: selects the intervals of the calibration
    mask  its voxels, each with its fraction in the region
    """

    kind: RegionKind
    mask: WeightedMask

    def __post_init__(self) -> None:
        if self.kind not in get_args(RegionKind):
            raise UsageError(f"`kind` is {self.kind}: give {', '.join(get_args(RegionKind))}")

    @property
    def name(self) -> str:
        """Its name in tables."""
        return self.mask.name

    @property
    def volume_ml(self) -> float:
        """Volume of its part in the field of view."""
        return self.mask.volume_ml * self.mask.visible_fraction

    @property
    def voxels(self) -> float:
        """Volume of the region in voxels; may be fractional."""
        return float(self.mask.weights.sum())

    @property
    def cut(self) -> bool:
        """Whether a part of it is outside the field of view."""
        return self.mask.visible_fraction < MIN_VISIBLE_FRACTION

    def centre_mm(self, affine: NDArray[np.float64]) -> tuple[float, float, float]:
        """Return its centre of volume in mm, RAS+."""
        weights = self.mask.weights
        axes = [np.arange(cut.start, cut.stop) for cut in self.mask.box]
        sums = [weights.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
        index = [float(n @ share / share.sum()) for n, share in zip(axes, sums, strict=True)]
        x, y, z = (affine @ [*index, 1.0])[:3]
        return float(x), float(y), float(z)


def mask_region(
    mask: NDArray[np.generic], scan: PETImage, *, name: str = "region", kind: RegionKind = "lesion"
) -> Region:
    """Return the region of the voxels of a mask [i, j, k] on the scan's grid: those that are not 0.

    Raises InputRefused if the mask is empty or has another shape, UsageError for an unknown kind.
    """
    return shares_region((mask != 0).astype(np.float64), scan, name=name, kind=kind)


def shares_region(
    shares: NDArray[np.float64],
    scan: PETImage,
    *,
    name: str = "region",
    kind: RegionKind = "lesion",
    visible: float = 1.0,
) -> Region:
    """Return the region of voxels with fractions `shares` [i, j, k] from 0 to 1.

    visible  fraction of its volume in the field of view

    Raises InputRefused if it is empty, smaller than a voxel, or has another shape.
    """
    if shares.shape != scan.shape:
        raise InputRefused(f"{name}: the mask has {shares.shape} voxels and the scan {scan.shape}")
    voxels = float(shares.sum())
    if not voxels:
        raise InputRefused(f"{name} is empty: no voxel of the scan is in it")
    volume_ml = voxels * voxel_ml(scan.spacing_mm)
    if voxels < _A_VOXEL:
        raise InputRefused(
            f"{name} has {volume_ml:.2g} ml and is smaller than a voxel "
            f"({voxel_ml(scan.spacing_mm):.2g} ml): leave it out"
        )
    box = bounding_box(shares > 0)
    mask = mask_from_shares(
        name, box, shares[box], scan.shape, scan.spacing_mm, volume_ml / visible,
        visible_fraction=visible,
    )  # fmt: skip
    return Region(kind, mask)


def label_regions(
    labels: NDArray[np.int32],
    names: Mapping[int, str],
    kinds: Mapping[int, RegionKind],
    scan: PETImage,
    other: RegionKind = "lesion",
) -> list[Region]:
    """Return a region per label above 0, with its name, else its number.

    kinds, other  kinds by label, and the kind of all other labels
    """
    masks = label_masks(labels, scan.spacing_mm, lambda n: names.get(n) or f"label {n}")
    return [Region(kinds.get(n, other), mask) for n, mask in masks.items()]


def ball_region(
    centre_mm: Sequence[float],
    radius_mm: float,
    scan: PETImage,
    *,
    name: str = "sphere",
    kind: RegionKind = "sphere",
) -> Region:
    """Return a spherical region around a point in mm, RAS+.

    Raises InputRefused if it is smaller than a voxel, or less than half of it is in the scan.
    """
    volume_ml = 4 / 3 * np.pi * radius_mm**3 / 1000
    if not volume_ml >= voxel_ml(scan.spacing_mm):  # nor nan
        raise InputRefused(
            f"{name} of {radius_mm:g} mm radius has {volume_ml:.2g} ml and is smaller than a voxel "
            f"({voxel_ml(scan.spacing_mm):.2g} ml): give a larger radius"
        )
    try:
        mask = sphere_mask(name, centre_mm, radius_mm, scan.shape, scan.affine)
    except InputRefused:
        at = ", ".join(f"{mm:g}" for mm in centre_mm)
        raise InputRefused(
            f"less than half of {name} at ({at}) mm is in the scan's field of view: {_extent(scan)}"
        ) from None
    return Region(kind, mask)


def _extent(scan: PETImage) -> str:
    """Return the extent of a scan as text."""
    ends = zip("xyz", scan.corners_mm.min(axis=0), scan.corners_mm.max(axis=0), strict=True)
    spans = ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in ends)
    return f"it spans {spans} mm (RAS+: right, anterior and superior are positive)"


def region_kind(name: str) -> RegionKind:
    """Return organ for the name of a known organ without a word for disease, else lesion."""
    diseased = any(part in name.lower() for part in _DISEASE)
    return "organ" if is_organ(name) and not diseased else "lesion"
