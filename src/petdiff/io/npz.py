"""Read the published .npz: one array `arr_0` of SUV, without voxel sizes and directions.

It is a scan [i, j, k], or a pair [2, i, j, k]: low dose, then full dose, as the published code
reads it for training and testing (Yu et al., EJNMMI 2025).
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.io.archives import check_archive
from petdiff.io.missing_values import fill_air
from petdiff.io.stored_units import UnitEvidence, find_unit
from petdiff.io.stored_values import MAX_VOXELS, as_labels
from petdiff.io.volume_source import StoredVolume

# The published model's grid (Yu et al., EJNMMI 2025).
_SPACING_MM = 1.65
LOW, FULL = 0, 1  # of a pair's first axis
_PARTS = ("low-dose", "full-dose")
_MEMBER = "arr_0.npy"
_PIECE_BYTES = 4 << 20
# Raised by zipfile, its decompressors and numpy's header parser for damaged files.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, TypeError,
    SyntaxError, tokenize.TokenError, RecursionError, NotImplementedError, RuntimeError,
    struct.error, KeyError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class _Array:
    """The declared shape and type of a member's array, and the stream of its values."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    stream: IO[bytes]

    @property
    def is_pair(self) -> bool:
        return len(self.shape) == 4 and self.shape[0] == 2


def holds_pair(path: Path) -> bool:
    """Return whether `arr_0` is a pair, from its header; False without `arr_0`."""
    try:
        with zipfile.ZipFile(path) as archive:
            if _MEMBER not in archive.namelist():
                return False
        with _opened(path) as array:
            return array.is_pair
    except _DAMAGED as problem:
        raise InputRefused(f"{path} is not a valid .npz: {problem}") from problem


def read_npz(
    path: Path, units: str | None, suv_factor: float | None, part: int = LOW
) -> StoredVolume:
    """Read `arr_0`, of a pair the low-dose scan unless `part` is FULL, and find its unit.

    Spacing and directions are assumed; the warnings state this and the part.
    """
    stored, pair = _stored(path, part)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(stored, dtype=np.float32)
    affine = npz_affine()
    _, missing = fill_air(path.name, values, affine)
    unit = find_unit(UnitEvidence(path.name, units, suv_factor), values, affine)
    warnings = [
        f"{path.name} does not say its voxel size and directions: "
        f"{_SPACING_MM} mm and RAS are assumed",
        *([f"{path.name} holds a pair: its {_PARTS[part]} scan was read"] if pair else []),
        *missing,
    ]
    return StoredVolume(values, affine, unit, "npz", warnings)


def read_npz_labels(path: Path) -> NDArray[np.int32]:
    """Read `arr_0` as labels. Raises InputRefused for other values."""
    return as_labels(path.name, _stored(path, LOW)[0])


def npz_affine() -> NDArray[np.float64]:
    """Return the assumed affine of all .npz, voxel index → mm, RAS+."""
    return np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0])


def _stored(path: Path, part: int) -> tuple[NDArray[Any], bool]:
    """Return the array as stored [i, j, k], and whether it is one of a pair."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.name)
            names = archive.namelist()
        if _MEMBER not in names:
            members = ", ".join(name.removesuffix(".npy") for name in names[:5]) or "nothing"
            raise InputRefused(f"{path.name} holds {members}, not arr_0")
        with _opened(path) as array:
            shape = array.shape[1:] if array.is_pair else array.shape
            if len(shape) != 3 or 0 in shape or array.dtype.kind not in "fiu":
                raise InputRefused(
                    f"{path.name}: arr_0 is {array.dtype} {array.shape}, not a 3-D array of "
                    "numbers, nor a pair [2, i, j, k] of them"
                )
            whole = _values(path, array)
    except _DAMAGED as problem:
        raise InputRefused(f"{path.name} is not a valid .npz: {problem}") from problem
    return (whole[part], True) if len(whole.shape) == 4 else (whole, False)


@contextmanager
def _opened(path: Path) -> Iterator[_Array]:
    """Yield the member's array; arrays of Python objects (pickles) are refused."""
    with zipfile.ZipFile(path) as archive, archive.open(_MEMBER) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        shape, fortran_order, dtype = (
            read if version == (1, 0) else np.lib.format.read_array_header_2_0
        )(stream)
        if dtype.hasobject:
            raise InputRefused(
                f"{path.name} is not a valid .npz: arr_0 holds Python objects, which could run "
                "code when read; save plain numbers"
            )
        size = archive.getinfo(_MEMBER).file_size
        if prod(shape) > MAX_VOXELS or min(shape, default=0) < 0:
            raise InputRefused(f"{path.name}: arr_0 declares {shape}, more than any scan has")
        if prod(shape) * dtype.itemsize > size:
            raise InputRefused(
                f"{path.name}: arr_0 declares {shape} of {dtype}, and its {size} bytes hold less: "
                "truncated? Get it again"
            )
        yield _Array(shape, fortran_order, dtype, stream)


def _values(path: Path, array: _Array) -> NDArray[Any]:
    """Return all values, read in pieces, so that memory is only filled with existing values."""
    count = prod(array.shape)
    flat = np.empty(count, array.dtype)
    content = memoryview(flat.view(np.uint8))  # type: ignore[arg-type]
    done = 0
    while piece := array.stream.read(min(_PIECE_BYTES, len(content) - done)):
        content[done : done + len(piece)] = piece
        done += len(piece)
    if done < len(content) or array.stream.read(1):
        raise InputRefused(f"{path.name}: arr_0 is not of the size that it declares: get it again")
    return flat.reshape(array.shape, order="F" if array.fortran_order else "C")
