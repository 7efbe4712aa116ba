"""What all volume files share that are read without PET headers and written again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage


@dataclass(frozen=True, kw_only=True)
class VolumeSource:
    """What a volume file is written from again.

    affine  in mm, as it was read
    nan     where the file held NaN; None: nowhere
    """

    affine: NDArray[np.float64]
    nan: NDArray[np.bool_] | None = field(default=None, repr=False)


def stored_factor(image: PETImage) -> float:
    """Return the factor from `values` to what a volume file holds.

    That is the stored unit of the volume file that the image was read from; an image from
    elsewhere is written as its values are.
    """
    return float(image.stored_per_value) if isinstance(image.source, VolumeSource) else 1.0


def stored_unit(image: PETImage) -> str:
    """Return the unit of what a volume file holds of an image, in DICOM's words or as SUV."""
    if isinstance(image.source, VolumeSource) and image.unit != "GML":
        return image.unit or "unknown unit"
    return "SUV" if image.in_suv else image.unit or "unknown unit"


def missing(image: PETImage) -> NDArray[np.bool_] | None:
    """Return where the file held NaN that the image was read from; None: nowhere, or moved."""
    source = image.source
    same = isinstance(source, VolumeSource) and np.array_equal(source.affine, image.affine)
    return source.nan if same else None
