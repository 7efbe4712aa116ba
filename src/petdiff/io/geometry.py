"""Check affines: unit of length, limits of voxel size and position; convert LPS+ to RAS+."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.image import by_axis, spacing_of

Affine = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # and back
UNIT_MM = {"metres": 1000.0, "millimetres": 1.0, "micrometres": 0.001}
_USUAL_MM = (0.2, 50.0)  # from a mouse scanner to a coarse simulation
_POSSIBLE_MM = (0.05, 100.0)
_MAX_SHEAR_DEGREES = 1.0
_MAX_ORIGIN_MM = 1e5  # beyond it, float32 headers cannot state positions to 0.01 mm


def affine_in_mm(name: str, affine: Affine, unit: str | None) -> tuple[Affine, list[str]]:
    """Return the affine in mm, and warnings.

    unit  of the affine as stated in the file (a key of UNIT_MM); None: not stated, taken as mm

    If the stated unit gives unusual voxel sizes and exactly one other unit gives usual ones, that
    unit is used, with a warning. A sheared grid gives a warning, too. Raises InputRefused for an
    affine that is not finite or not invertible, and for voxel sizes outside 0.05 to 100 mm.
    """
    if not np.isfinite(affine).all():
        raise InputRefused(f"{name} has an affine with NaN or infinite values: {affine.tolist()}")
    with np.errstate(over="ignore"):
        sizes = np.array(spacing_of(affine))
    stated = UNIT_MM[unit or "millimetres"]
    factor, warnings = stated, []
    if not _within(sizes * stated, _USUAL_MM):
        others = [u for u, mm in UNIT_MM.items() if mm != stated and _within(sizes * mm, _USUAL_MM)]
        if len(others) == 1:
            factor = UNIT_MM[others[0]]
            statement = (
                f"says that its voxels are {by_axis(sizes)} {unit}"
                if unit
                else (f"has voxels of {by_axis(sizes)} and names no unit")
            )
            warnings.append(f"{name} {statement}, as no PET scan has: {others[0]} are assumed")
    in_mm = affine.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        in_mm[:3] *= factor
    in_mm[3] = 0, 0, 0, 1
    require_possible(name, in_mm)
    return in_mm, [*warnings, *shear_warnings(name, in_mm)]


def require_possible(name: str, affine: Affine) -> None:
    """Raise InputRefused for an affine in mm that is impossible for a scan.

    It cannot be inverted, has voxels outside 0.05 to 100 mm, or an origin 100 m away.
    """
    with np.errstate(over="ignore"):
        sizes_mm = np.array(spacing_of(affine))
    if not _within(sizes_mm, _POSSIBLE_MM):
        raise InputRefused(
            f"{name} has voxels of {by_axis(sizes_mm)} mm, as no PET scan has: correct the voxel "
            "sizes in its header"
        )
    if abs(np.linalg.det(affine[:3, :3] / sizes_mm)) < 1e-3:
        raise InputRefused(f"{name} has an affine that cannot be inverted: {affine.tolist()}")
    if np.abs(affine[:3, 3]).max() > _MAX_ORIGIN_MM:
        raise InputRefused(
            f"{name} lies {np.abs(affine[:3, 3]).max():.3g} mm from its origin: correct the "
            "offsets in its header"
        )


def shear_warnings(name: str, affine: Affine) -> list[str]:
    """Return a warning if the voxel axes are not at right angles, as after affine registration."""
    directions = affine[:3, :3] / spacing_of(affine)
    cosine = np.abs(np.triu(directions.T @ directions, 1)).max()
    degrees = float(np.degrees(np.arcsin(min(cosine, 1.0))))
    if degrees <= _MAX_SHEAR_DEGREES:
        return []
    return [
        f"{name}: its voxel axes are {degrees:.0f}° off the right angle, and volumes, distances "
        "and pictures are made as for right angles: resample it to a grid without shear"
    ]


def _within(sizes: NDArray[np.float64], limits: tuple[float, float]) -> bool:
    return bool((sizes >= limits[0] * 0.999).all() and (sizes <= limits[1] * 1.001).all())
