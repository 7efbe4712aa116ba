"""Reorient scans to the axes that a network was trained on, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from petdiff.image import PETImage, axial_axis, spacing_of


class RASVolume(NamedTuple):
    """A volume whose axes are those nearest to the patient's right, front and head.

    volume       a view, never a copy
    affine       voxel index → mm, RAS+
    spacing_mm   voxel sizes along these axes
    orientation  as in nibabel: for each stored axis, the RAS axis it became and its direction
    """

    volume: NDArray[np.float32]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    orientation: NDArray[np.float64]


def to_ras(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> RASVolume:
    """Return a volume [i, j, k] with axes nearest to RAS; axes are only swapped and reversed."""
    orientation = orientations.io_orientation(affine)
    turned_affine = affine @ orientations.inv_ornt_aff(orientation, volume.shape)
    turned_volume = orientations.apply_orientation(volume, orientation)
    return RASVolume(turned_volume, turned_affine, spacing_of(turned_affine), orientation)


def reoriented(image: PETImage, axes: str) -> PETImage:
    """Return the scan with its voxel axes i, j, k running towards `axes`.

    `axes` is three letters of R/L, A/P and S/I. "LPS": i runs to the patient's left, like the
    columns of an axial DICOM slice. Axes are swapped and reversed, never interpolated; those of an
    oblique scan run as near to `axes` as possible. The result is for computation, not for files.
    """
    own = orientations.io_orientation(image.affine)
    turn = orientations.ornt_transform(own, orientations.axcodes2ornt(axes))
    values = _in_memory(orientations.apply_orientation(image.values, turn))
    affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
    return PETImage(values, affine, unit=image.unit, in_suv=image.in_suv)


def reoriented_back(image: PETImage, source: PETImage) -> PETImage:
    """Return `source` with the values of `image`, which is `source` reoriented by `reoriented`."""
    own, wanted = (orientations.io_orientation(scan.affine) for scan in (image, source))
    turn = orientations.ornt_transform(own, wanted)
    values = orientations.apply_orientation(image.values, turn)
    return source.with_values(_in_memory(values))


def with_axis_last(
    image: PETImage,
) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Return the values with the patient's axis as k, a view, and the voxel size in this order."""
    along = axial_axis(image.affine)
    i, j = (axis for axis in range(3) if axis != along)
    mm = image.spacing_mm
    return image.values.transpose(i, j, along), (mm[i], mm[j], mm[along])


def _in_memory(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values [i, j, k] in Fortran order, as in files; a copy if they have another order."""
    return np.asfortranarray(values)
