"""PETImage: a PET volume, where it lies in the patient, and the way back to its stored unit.

Axis order, stated here once for the whole package: arrays are indexed [i, j, k] and `affine` takes
(i, j, k, 1) to millimetres in RAS+ (right, anterior and superior are positive), as in NIfTI.
Tensors are [batch, channel, i, j, k].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

# Names for display of DICOM's Units (0054,1001) (PS3.3 C.8.9.1.1.3).
_UNIT_NAMES = {
    "": "stored values",
    "1CM": "1/cm",
    "BQML": "Bq/ml",
    "CM2": "cm²",
    "CM2ML": "cm²/ml",
    "CNTS": "counts",
    "CPS": "counts/s",
    "GML": "g/ml",
    "MGMINML": "mg/min/ml",
    "MLG": "ml/g",
    "MLMING": "ml/min/g",
    "MLMINML": "ml/min/ml",
    "MLML": "ml/ml",
    "NONE": "stored values",
    "PCNT": "%",
    "PROPCNTS": "proportional to counts",
    "PROPCPS": "proportional to counts/s",
    "STDDEV": "standard deviations",
    "UMOLMINML": "µmol/min/ml",
    "UMOLML": "µmol/ml",
}


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the voxel size along i, j, k in mm."""
    a, b, c = np.linalg.norm(affine[:3, :3], axis=0)
    return float(a), float(b), float(c)


def axial_axis(affine: NDArray[np.float64]) -> int:
    """Return the array axis that runs along the patient, from feet to head or back."""
    return int(np.argmax(np.abs(affine[2, :3]) / spacing_of(affine)))


def by_axis(sizes: Iterable[float]) -> str:
    """Return sizes along the axes as text: 1.65 × 1.65 × 2."""
    return " × ".join(str(size) if isinstance(size, int) else f"{size:.4g}" for size in sizes)


def grid_text(shape: Iterable[int], spacing_mm: Iterable[float]) -> str:
    """Return a grid as text: 192 × 288 × 520 voxels of 1.65 × 1.65 × 1.65 mm."""
    return f"{by_axis(shape)} voxels of {by_axis(spacing_mm)} mm"


class NoSUVError(ValueError):
    """SUV was requested from an image that has no SUV."""


@dataclass(frozen=True, eq=False, repr=False)
class PETImage:
    """A PET volume.

    values            float32 [i, j, k]: body-weight SUV in g/ml if `in_suv`, else the stored unit;
                      negative values are kept
    affine            float64 4 × 4, voxel index → mm, RAS+
    stored_per_value  stored = values * stored_per_value; a number, or one per slice k if the
                      calibration differs by slice
    unit              the stored unit as in DICOM: BQML, GML, CM2ML, CNTS, CPS; empty if unknown
    in_suv            False if no factor to SUV is known: `values` are then as stored
    facts             acquisition facts and SUV provenance, for JSON
    source            data for writing the same format again (DICOM headers, a NIfTI header), used
                      by petdiff.io only
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    stored_per_value: float | NDArray[np.float64] = 1.0
    unit: str = "GML"
    in_suv: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    source: Any = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or 0 in self.values.shape:
            raise ValueError(f"values must be a non-empty 3-D array, not {self.values.shape}")
        if self.values.dtype != np.float32:
            raise ValueError(f"values must be float32, not {self.values.dtype}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"affine must be 4 × 4, not {self.affine.shape}")
        if np.shape(self.stored_per_value) not in ((), self.values.shape[2:]):
            raise ValueError("stored_per_value is one factor, or one per slice k")

    def __repr__(self) -> str:
        """Describe the image in one line without patient data: shape, voxel size, unit, range."""
        low, high = float(self.values.min()), float(self.values.max())
        return f"PETImage({self.grid_text}, {low:.4g} to {high:.4g} {self.unit_name})"

    @property
    def suv(self) -> NDArray[np.float32]:
        """The values as body-weight SUV. Raises NoSUVError if they are in another unit."""
        if not self.in_suv:
            raise NoSUVError(
                f"the image holds {self.unit_name}, not SUV ({self.no_suv_reason}): use .values"
            )
        return self.values

    @property
    def no_suv_reason(self) -> str:
        """The reason why there is no SUV; empty if there is SUV."""
        if self.in_suv:
            return ""
        return str(self.facts.get("suv", {}).get("reason") or "its source gives no factor")

    @property
    def unit_name(self) -> str:
        """The unit of `values` for display: SUV, Bq/ml, counts."""
        return "SUV" if self.in_suv else _UNIT_NAMES.get(self.unit, self.unit)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        i, j, k = self.values.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        return spacing_of(self.affine)

    @property
    def grid_text(self) -> str:
        """The grid as text."""
        return grid_text(self.shape, self.spacing_mm)

    @property
    def corners_mm(self) -> NDArray[np.float64]:
        """Centres of the eight outermost voxels [8, 3] in mm."""
        ends = np.array(np.meshgrid(*((0, n - 1) for n in self.shape))).reshape(3, 8)
        return np.asarray((self.affine[:3, :3] @ ends + self.affine[:3, 3:]).T, dtype=np.float64)

    def shares_voxels(self, other: PETImage, tolerance_mm: float) -> bool:
        """Return whether another image has the same grid, within a tolerance of voxel positions."""
        if self.shape != other.shape:
            return False
        distance_mm = np.linalg.norm(self.corners_mm - other.corners_mm, axis=1)
        return bool((distance_mm <= tolerance_mm).all())

    def cropped(self, box: tuple[slice, slice, slice]) -> PETImage:
        """Return the voxels of a box at their place in the patient, without `source`."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [cut.start for cut in box]
        factor = self.stored_per_value
        return replace(
            self,
            values=np.asfortranarray(self.values[box]),
            affine=affine,
            stored_per_value=factor[box[2]] if isinstance(factor, np.ndarray) else factor,
            source=None,
        )

    def with_values(self, values: FloatArray) -> PETImage:
        """Return the same scan with other values, in the same unit and on the same grid."""
        if values.shape != self.shape:
            raise ValueError(f"shape {values.shape} is not this image's {self.shape}")
        return replace(self, values=np.asarray(values, dtype=np.float32))
