"""The patches that networks are trained on, and the voxel sizes that they may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# Voxels along i, j, k. Networks that take statistics of all they see are asked for windows of a
# whole scan that are as large as what they were trained with.
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


class VoxelRange(BaseModel):
    """The voxel sizes that a network knows from training.

    least_mm, most_mm  sides of a voxel in training
    anisotropy         how many times as long as the shortest side the others may be
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_mm: float = Field(ge=0.1, le=100, default=1.0)
    most_mm: float = Field(ge=0.1, le=100, default=6.0)
    anisotropy: float = Field(ge=1, le=100, default=2.0)

    def nearest(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return a scan's own voxel size, changed only where training saw no such size."""
        clipped = [min(max(mm, self.least_mm), self.most_mm) for mm in voxel_mm]
        i, j, k = (min(mm, self.anisotropy * min(clipped)) for mm in clipped)
        return i, j, k
