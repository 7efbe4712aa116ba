"""Read label volumes: integers on a grid, without a unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.io.formats import existing, format_of
from petdiff.io.itk import read_itk_labels
from petdiff.io.nifti_header import read_header
from petdiff.io.npz import npz_affine, read_npz_labels
from petdiff.io.stored_values import read_label_values

_READ = ".nii, .nii.gz, .hdr/.img, .nrrd, .nhdr, .mha, .mhd or .npz"


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The labels of a file.

    labels       int32 [i, j, k], 0 and up
    affine       float64 4 × 4, voxel index → mm, RAS+
    header_text  text of the NIfTI extensions, where some programs store label names
    warnings     about the file's geometry
    """

    labels: NDArray[np.int32]
    affine: NDArray[np.float64]
    header_text: str = ""
    warnings: tuple[str, ...] = ()


def read_label_volume(path: str | Path) -> LabelVolume:
    """Read a label volume from NIfTI, NRRD, MetaImage or .npz.

    Raises InputRefused for a file that is missing, damaged or not 3-D, and for values that are not
    whole numbers from 0 to 2^31 - 1.
    """
    path = existing(path)
    file_format = format_of(path)
    if file_format == "npz":
        return LabelVolume(read_npz_labels(path), npz_affine())
    if file_format == "itk":
        return LabelVolume(*read_itk_labels(path))
    if file_format == "nifti":
        return _nifti(path)
    raise InputRefused(f"{path} is no label volume that can be read: give {_READ}")


def _nifti(path: Path) -> LabelVolume:
    file = read_header(path)
    shape = file.stored.shape
    if len(shape) != 3:
        raise InputRefused(f"{path.name} has {len(shape)} dimensions {shape}: give a 3-D label map")
    text = file.extensions.decode("utf-8", errors="replace")
    labels = read_label_values(file.stored)
    return LabelVolume(labels, file.affine, text, tuple(file.warnings))
