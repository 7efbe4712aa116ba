"""The source data of volume files, which are used for writing a result in the same way."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage


@dataclass(frozen=True, kw_only=True)
class VolumeSource:
    """The source data of a volume file.

    affine  in mm, as it was read
    nan     mask of NaN in the file; None: no NaN
    """

    affine: NDArray[np.float64]
    nan: NDArray[np.bool_] | None = field(default=None, repr=False)


def stored_factor(image: PETImage) -> float:
    """Return the factor from `values` to the values to write to a volume file.

    An image from a volume file is written in that file's unit, any other in the unit of `values`.
    """
    return float(image.stored_per_value) if isinstance(image.source, VolumeSource) else 1.0


def stored_unit(image: PETImage) -> str:
    """Return the unit in which an image is written to a volume file: of DICOM, or SUV."""
    if isinstance(image.source, VolumeSource) and image.unit != "GML":
        return image.unit or "unknown unit"
    return "SUV" if image.in_suv else image.unit or "unknown unit"


def missing(image: PETImage) -> NDArray[np.bool_] | None:
    """Return the mask of NaN in the source file; None if there is none or the grid has changed."""
    source = image.source
    same = isinstance(source, VolumeSource) and np.array_equal(source.affine, image.affine)
    return source.nan if same else None
