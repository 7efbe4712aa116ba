"""Sizes of training patches and windows, and the range of voxel sizes in training."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

# Voxels along i, j, k. Networks with statistics over their whole input denoise a scan in windows of
# the size of their training patches.
PATCH = (64, 64, 48)
# Voxels over which neighbouring windows are blended, about the published share of 10/96.
OVERLAP = 8

Voxels = Annotated[int, Field(ge=1, le=4096)]  # along an axis of a window
_DIRECTIONS = ({"R", "L"}, {"A", "P"}, {"S", "I"})


def _patient_axes(axes: str) -> str:
    """Return `axes` if it names each direction of the patient once, else raise ValueError."""
    if len(axes) != 3 or any(len(pair & set(axes)) != 1 for pair in _DIRECTIONS):
        raise ValueError(f"{axes!r} must name R or L, A or P, and S or I once each, as RAS does")
    return axes


PatientAxes = Annotated[str, Field(max_length=3), AfterValidator(_patient_axes)]


class VoxelRange(BaseModel, frozen=True, extra="forbid"):
    """The range of voxel sizes in training.

    least_mm, most_mm  shortest and longest side of a voxel
    anisotropy         largest ratio of a side of a voxel to its shortest side
    """

    least_mm: float = Field(ge=0.1, le=100, default=1.0)
    most_mm: float = Field(ge=0.1, le=100, default=6.0)
    anisotropy: float = Field(ge=1, le=100, default=2.0)

    def nearest(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the voxel size of a scan, limited to the range of training."""
        clipped = [min(max(mm, self.least_mm), self.most_mm) for mm in voxel_mm]
        i, j, k = (min(mm, self.anisotropy * min(clipped)) for mm in clipped)
        return i, j, k
