"""Scans turned so that their voxel axes run as a network has learnt to expect, and turned back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from petdiff.image import PETImage


class RASVolume(NamedTuple):
    """A volume whose axes run nearest to the patient's right, front and head.

    volume       a view, never a copy
    affine       voxel index → mm, RAS+
    spacing_mm   voxel sizes along these axes
    orientation  nibabel's: for each stored axis, the RAS axis it became and its direction
    """

    volume: NDArray[np.float32]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    orientation: NDArray[np.float64]


def to_ras(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> RASVolume:
    """Turn a volume [i, j, k] to the patient's nearest axes; axes are swapped and reversed only."""
    orientation = orientations.io_orientation(affine)
    turned_affine = affine @ orientations.inv_ornt_aff(orientation, volume.shape)
    x, y, z = (float(mm) for mm in np.linalg.norm(turned_affine[:3, :3], axis=0))
    turned_volume = orientations.apply_orientation(volume, orientation)
    return RASVolume(turned_volume, turned_affine, (x, y, z), orientation)


def turned(image: PETImage, axes: str) -> PETImage:
    """The scan with its voxel axes i, j, k running towards `axes`, for computing, not for writing.

    axes is three letters of R/L, A/P and S/I: "LPS" has i run to the patient's left, as the columns
    of an axial DICOM slice do. Axes are swapped and reversed, never interpolated: those of an
    oblique scan run as near to `axes` as they can.
    """
    here = orientations.io_orientation(image.affine)
    turn = orientations.ornt_transform(here, orientations.axcodes2ornt(axes))
    values = np.ascontiguousarray(orientations.apply_orientation(image.values, turn))
    affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
    return PETImage(values, affine, unit=image.unit, in_suv=image.in_suv)


def turned_back(image: PETImage, source: PETImage) -> PETImage:
    """`source` with the values of `image`, which is `source` turned."""
    here, there = (orientations.io_orientation(scan.affine) for scan in (image, source))
    turn = orientations.ornt_transform(here, there)
    values = orientations.apply_orientation(image.values, turn)
    return source.with_values(np.ascontiguousarray(values))
