"""Replace NaN in the air around the body by 0; refuse scans with NaN within the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from petdiff.errors import InputRefused
from petdiff.image import axial_axis, spacing_of
from petdiff.units import counted
from petdiff.volume.regions import body_mask

_MAX_VALUE = 1e15  # far beyond activity in any unit; its square still fits float32


def fill_air(
    name: str, values: NDArray[np.float32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Set NaN outside the body to 0, in place.

    Returns a mask of the NaN (None: no NaN) and warnings. Raises InputRefused for values that are
    infinite or above 1e15, for a scan of NaN only, and for NaN within the body, with their number.
    """
    finite = np.isfinite(values)
    if finite.all():
        _require_possible(name, values)
        return None, []
    nan = np.isnan(values)
    infinite = values.size - int(finite.sum()) - int(nan.sum())
    if infinite:
        raise InputRefused(
            f"{name} holds {counted(infinite, 'infinite value')}, the first at voxel "
            f"{_first(~finite & ~nan)}: mask or replace them (numpy.nan_to_num)"
        )
    count = int(nan.sum())
    holds = f"{name} holds NaN in {counted(count, 'voxel')}"
    if count == values.size:
        raise InputRefused(f"{name} holds nothing but NaN: there is no scan in it")
    values[nan] = 0
    _require_possible(name, values)
    within = nan & ~_outside(values, nan, affine)
    if within.any():
        raise InputRefused(
            f"{holds}, {within.sum()} of them within the body, the first at voxel "
            f"{_first(within)}: they cannot be filled in; replace them "
            "(fslmaths IN -nan OUT; numpy.nan_to_num), or get the scan before it was masked"
        )
    share = count / values.size
    return nan, [f"{holds} ({share:.0%}), all outside the body: taken as air (0)"]


def _require_possible(name: str, values: NDArray[np.float32]) -> None:
    highest = max(float(values.max()), -float(values.min()))
    if highest > _MAX_VALUE:
        raise InputRefused(
            f"{name} holds values up to {highest:.3g}, which no scan has: check its data type"
        )


def _outside(
    values: NDArray[np.float32], nan: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the voxels that are connected to the lateral faces through air and NaN."""
    parts, _ = label(nan | ~body_mask(values, spacing_of(affine)))
    # The body may extend beyond the first and the last axial plane, but not beyond the sides.
    axial = axial_axis(affine)
    lateral = [axis for axis in range(3) if axis != axial]
    faces = [np.unique(parts.take((0, -1), axis=axis)) for axis in lateral]
    reached = np.unique(np.concatenate(faces))
    return np.asarray(np.isin(parts, reached[reached > 0]))


def _first(where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(int(where.argmax()), where.shape))
