"""The published .npz: one array `arr_0` of SUV, with no word on its voxels.

It is a scan [i, j, k], or a pair [2, i, j, k]: low dose, then full dose, as the published code
reads it for training and testing (Yu et al., EJNMMI 2025).
"""

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
LOW, FULL = 0, 1  # of a pair's first axis
_PARTS = ("low-dose", "full-dose")


def holds_pair(path: Path) -> bool:
    """Whether `arr_0` is a pair, from its header alone; False where there is no arr_0."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as array:
            version = np.lib.format.read_magic(array)
            read = np.lib.format.read_array_header_1_0
            shape, _, _ = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(
                array
            )
    except KeyError:
        return False
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as problem:
        raise InputRefused(f"{path} is not a sound .npz: {problem}") from problem
    return len(shape) == 4 and shape[0] == 2


def read_npz(path: Path, units: str | None, suv_factor: float | None, part: int = LOW) -> PETImage:
    """Read `arr_0`, of a pair the low-dose scan unless `part` is FULL.

    Spacing and directions are assumed, and the part was chosen, which `facts` says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.name)
        with np.load(path, allow_pickle=False) as arrays:
            if "arr_0" not in arrays:
                raise InputRefused(f"{path.name} holds {', '.join(arrays) or 'nothing'}, not arr_0")
            stored = arrays["arr_0"]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as problem:
        raise InputRefused(f"{path.name} is not a sound .npz: {problem}") from problem
    pair = stored.ndim == 4 and len(stored) == 2
    if pair:
        stored = stored[part]
    if stored.ndim != 3 or 0 in stored.shape or stored.dtype.kind not in "fiu":
        raise InputRefused(
            f"{path.name}: arr_0 is {stored.dtype} {stored.shape}, not a 3-D array of numbers, "
            "nor a pair [2, i, j, k] of them"
        )
    suv = suv_without_header(path.name, units, suv_factor)
    values = stored.astype(np.float32)
    values *= np.float32(suv.factor)
    if not np.isfinite(values).all():
        raise InputRefused(f"{path.name} holds NaN or infinite values, which no scan has")
    return PETImage(
        values=values,
        affine=np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0]),
        stored_per_value=1 / float(suv.factor),
        unit=suv.unit,
        facts={
            "format": "npz",
            "suv": suv.as_dict(),
            "warnings": [
                f"{path.name} does not say its voxel size and directions: "
                f"{_SPACING_MM} mm and RAS are assumed",
                *([f"{path.name} holds a pair: its {_PARTS[part]} scan was read"] if pair else []),
            ],
        },
    )
