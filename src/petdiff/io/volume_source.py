"""Hold what was read of a volume file: values, unit, and the source for writing a result."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.suv.result import SUVResult, WithoutSUV


@dataclass(frozen=True, kw_only=True)
class VolumeSource:
    """The source data of a volume file.

    affine  in mm, as it was read
    nan     mask of NaN in the file; None: no NaN
    """

    affine: NDArray[np.float64]
    nan: NDArray[np.bool_] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """A volume as it is stored, float32 [i, j, k], with 0 in place of NaN in air.

    unit    of the values, and the factor to SUV if any
    source  by which a result is written in the same way; None: there is no such form
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    unit: SUVResult | WithoutSUV
    file_format: str
    warnings: list[str]
    source: VolumeSource | None = None

    def scan(self) -> PETImage:
        """Return the image. If there is a factor to SUV, the values are multiplied in place."""
        factor = float(self.unit.factor) if isinstance(self.unit, SUVResult) else 1.0
        self.values[...] *= np.float32(factor)
        return PETImage(
            values=self.values,
            affine=self.affine,
            stored_per_value=1 / factor,
            unit=self.unit.unit,
            in_suv=isinstance(self.unit, SUVResult),
            facts={
                "format": self.file_format,
                "suv": self.unit.as_dict(),
                "warnings": self.warnings,
            },
            source=self.source,
        )


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
