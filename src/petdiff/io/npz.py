"""The published .npz: one array `arr_0` of SUV, with no word on its voxels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io.entries import check_archive
from petdiff.io.stored_units import suv_without_header

# The published model's grid (Yu et al., EJNMMI 2025).
_SPACING_MM = 1.65


def read_npz(path: Path, units: str | None, suv_factor: float | None) -> PETImage:
    """Read `arr_0` [i, j, k]; spacing and directions are assumed, which `facts` says."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.name)
        with np.load(path, allow_pickle=False) as arrays:
            if "arr_0" not in arrays:
                raise InputRefused(f"{path.name} holds {', '.join(arrays) or 'nothing'}, not arr_0")
            stored = arrays["arr_0"]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as problem:
        raise InputRefused(f"{path.name} is not a sound .npz: {problem}") from problem
    if stored.ndim != 3 or 0 in stored.shape or stored.dtype.kind not in "fiu":
        raise InputRefused(
            f"{path.name}: arr_0 is {stored.dtype} {stored.shape}, not a 3-D array of numbers"
        )
    suv = suv_without_header(path.name, units, suv_factor)
    values = stored.astype(np.float32)
    values *= np.float32(suv.factor)
    if not np.isfinite(values).all():
        raise InputRefused(f"{path.name} holds NaN or infinite values, which no scan has")
    return PETImage(
        suv=values,
        affine=np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0]),
        stored_per_suv=1 / float(suv.factor),
        unit=suv.unit,
        facts={
            "format": "npz",
            "suv": suv.as_dict(),
            "warnings": [
                f"{path.name} does not say its voxel size and directions: "
                f"{_SPACING_MM} mm and RAS are assumed"
            ],
        },
    )
