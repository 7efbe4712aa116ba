"""What networks trained on patches of scans share: the patches, and the voxels they may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

# Voxels along i, j, k. The networks take statistics of all they see, so that they are asked for
# windows of a whole scan that are as large as what they were trained with.
PATCH = (64, 64, 48)
OVERLAP = (
    8  # voxels over which neighbouring windows are blended, about the published share of 10/96
)

Voxels = Annotated[int, Field(ge=1, le=4096)]  # along an axis of a window
_DIRECTIONS = ({"R", "L"}, {"A", "P"}, {"S", "I"})


def _patient_axes(axes: str) -> str:
    """Return `axes` if it names each direction of the patient once, else raise ValueError."""
    if len(axes) != 3 or any(len(pair & set(axes)) != 1 for pair in _DIRECTIONS):
        raise ValueError(
            f"{axes!r} does not name R or L, A or P, and S or I once each, as RAS does"
        )
    return axes


PatientAxes = Annotated[str, Field(max_length=3), AfterValidator(_patient_axes)]

# Voxel sizes in mm that the training slabs stand for, and how unequal the sides of a voxel may be.
VOXEL_MM = (1.0, 6.0)
ANISOTROPY = 2.0


def own_voxel_mm(voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """A scan's own voxels; refined or coarsened only where training saw no such size."""
    low, high = VOXEL_MM
    clipped = [min(max(mm, low), high) for mm in voxel_mm]
    i, j, k = (min(mm, ANISOTROPY * min(clipped)) for mm in clipped)
    return i, j, k
