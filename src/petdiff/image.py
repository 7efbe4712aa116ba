"""PETImage: a PET volume in SUV, where it lies in the patient, and the way back to its stored unit.

Axis order, stated here once for the whole package: arrays are indexed [i, j, k] and `affine` takes
(i, j, k, 1) to millimetres in RAS+ (right, anterior and superior are positive), as in NIfTI.
Tensors are [batch, channel, i, j, k].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class PETImage:
    """A PET volume.

    suv             float32 [i, j, k], body-weight SUV in g/ml (negative values are kept)
    affine          float64 4 × 4, voxel index → mm, RAS+
    stored_per_suv  stored unit per SUV; a scalar, or one factor per slice k where the source's
                    calibration differs by slice: stored = suv * stored_per_suv
    unit            the stored unit, in DICOM's words: BQML, GML, CM2ML, CNTS, CPS
    facts           acquisition facts and SUV provenance, JSON-able
    source          what the reader keeps so that the writer can give back the same form
                    (DICOM headers, a NIfTI header); opaque to everything but petdiff.io
    """

    suv: NDArray[np.float32]
    affine: NDArray[np.float64]
    stored_per_suv: float | NDArray[np.float64] = 1.0
    unit: str = "GML"
    facts: Mapping[str, Any] = field(default_factory=dict)
    source: Any = None

    def __post_init__(self) -> None:
        if self.suv.ndim != 3 or 0 in self.suv.shape:
            raise ValueError(f"suv must be a non-empty 3-D array, got shape {self.suv.shape}")
        if self.suv.dtype != np.float32:
            raise ValueError(f"suv must be float32, got {self.suv.dtype}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"affine must be 4 × 4, got {self.affine.shape}")
        if np.shape(self.stored_per_suv) not in ((), self.suv.shape[2:]):
            raise ValueError("stored_per_suv is one factor, or one per slice k")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @property
    def corners_mm(self) -> NDArray[np.float64]:
        """Where the eight outermost voxels' centres lie [8, 3]."""
        ends = np.array(np.meshgrid(*((0, n - 1) for n in self.suv.shape))).reshape(3, 8)
        return np.asarray((self.affine[:3, :3] @ ends + self.affine[:3, 3:]).T, dtype=np.float64)

    def shares_voxels(self, other: PETImage, tolerance_mm: float) -> bool:
        """Whether another image has as many voxels, each within a tolerance of this one's."""
        if self.suv.shape != other.suv.shape:
            return False
        apart_mm = np.linalg.norm(self.corners_mm - other.corners_mm, axis=1)
        return bool((apart_mm <= tolerance_mm).all())

    def with_suv(self, suv: FloatArray) -> PETImage:
        """The same scan with other values on the same grid."""
        if suv.shape != self.suv.shape:
            raise ValueError(f"shape {suv.shape} is not this image's {self.suv.shape}")
        return replace(self, suv=np.asarray(suv, dtype=np.float32))
