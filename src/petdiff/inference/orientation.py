"""Volumes turned so that their voxel axes run as a network has learnt to expect."""

from __future__ import annotations

import nibabel.orientations as orientations
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def turned(
    volume: Tensor, affine: NDArray[np.float64], axes: str
) -> tuple[Tensor, NDArray[np.float64]]:
    """The volume [i, j, k] and its affine (voxel → mm, RAS+), with i, j, k running towards `axes`.

    axes is three letters of R/L, A/P and S/I: "LPS" has i run to the patient's left, as the columns
    of an axial DICOM slice do. Axes are swapped and reversed, never interpolated: those of an
    oblique volume run as near to `axes` as they can.
    """
    here = orientations.io_orientation(affine)
    turn = orientations.ornt_transform(here, orientations.axcodes2ornt(axes))
    reversed_axes = [axis for axis, (_, sign) in enumerate(turn) if sign < 0]
    source_of = np.argsort(turn[:, 0]).tolist()
    back = orientations.inv_ornt_aff(turn, volume.shape)
    return torch.flip(volume, reversed_axes).permute(source_of).contiguous(), affine @ back
