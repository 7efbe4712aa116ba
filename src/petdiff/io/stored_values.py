"""Read the numbers of a volume file in pieces.

The declared size is compared with the size of the file before memory is allocated, and memory is
only filled with values that exist. So a small file cannot use gigabytes of memory.
"""

from __future__ import annotations

import bz2
import errno
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from petdiff.disk import reason
from petdiff.errors import InputRefused

MAX_VOXELS = 1 << 31  # ten times the largest total-body scan
MAX_LABEL = (1 << 31) - 1  # labels are int32
# Compression ratios: Deflate reaches 1000, PET scans 2 to 20, label maps 50 to 500. Volumes with
# few voxels are accepted at any ratio.
_MAX_RATIO = 200
_HARMLESS_VOXELS = {"scan": 1 << 26, "label map": 1 << 28}
_PIECE_BYTES = 4 << 20
_LABEL_TOLERANCE = 1e-3  # labels may have rounding errors of a slope

# ISA-L inflates several times as fast as zlib; it has no type hints.
_open_gzip = cast(Callable[[Path | BinaryIO], BinaryIO], igzip.open)
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)
# Raised by gzip, zlib and numpy for damaged content.
DAMAGED = (OSError, EOFError, ValueError, zlib.error, _ISAL_ERROR)
_NOT_READABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


Packing = Literal["auto", "none", "gzip", "zlib", "bzip2"]


@dataclass(frozen=True)
class StoredValues:
    """The position and type of the values of a volume file.

    path     of the file with the values
    name     of the file in messages
    start    first byte of the part of the file with the values
    packing  compression of that part; auto: gzip if it begins like gzip, else none
    offset   of the first value in that part, in bytes after decompression
    shape    the first axis varies fastest
    slope, intercept  value = stored number × slope + intercept
    """

    path: Path
    name: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    slope: float = 1.0
    intercept: float = 0.0
    start: int = 0
    packing: Packing = "auto"

    @property
    def declared_bytes(self) -> int:
        """Size of the values as the header declares it."""
        return prod(self.shape) * self.dtype.itemsize


def open_inflated(path: Path) -> BinaryIO:
    """Open a file for reading; one that is gzip by its first bytes is inflated."""
    return _open_gzip(path) if _is_gzip(path) else path.open("rb")


def read_scan_values(stored: StoredValues) -> tuple[NDArray[np.float32], list[str]]:
    """Read the values as float32 of the stored shape, and warnings about the file.

    Raises InputRefused for a file that is too small for its declared size, truncated or damaged.
    """
    values, warnings = _read(stored, "scan", np.dtype(np.float32))
    if (stored.slope, stored.intercept) != (1, 0):
        with np.errstate(over="ignore", invalid="ignore"):
            values *= np.float32(stored.slope)
            values += np.float32(stored.intercept)
    return values, warnings


def read_label_values(stored: StoredValues) -> NDArray[np.int32]:
    """Read whole numbers from 0 up as int32 of the stored shape.

    Raises InputRefused as `read_scan_values` does, and for values that are no labels: negative,
    above 2^31 - 1, not whole or not finite.
    """
    return _read(stored, "label map", np.dtype(np.int32))[0]


def as_labels(name: str, values: NDArray[Any]) -> NDArray[np.int32]:
    """Convert whole numbers from 0 to 2^31 - 1 to int32. Raises InputRefused for other values."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            whole = np.rint(values)
            not_integer = ~(np.abs(whole - values) <= _LABEL_TOLERANCE)
    else:
        whole, not_integer = values, np.zeros(values.shape, bool)
    wrong = not_integer | (whole < 0) | (whole > MAX_LABEL)
    if wrong.any():
        raise InputRefused(
            f"{name} is not a label map: it has {values[wrong].flat[0]:.10g}, and labels are whole "
            f"numbers from 0 to {MAX_LABEL}"
        )
    return np.asarray(whole, np.int32)


def _read(stored: StoredValues, kind: str, wanted: np.dtype[Any]) -> tuple[NDArray[Any], list[str]]:
    _require_plausible(stored, kind)
    count = prod(stored.shape)
    values = np.empty(count, wanted)
    done = 0
    try:
        with _opened(stored) as file:
            _skip(file, stored.offset)
            for piece in _pieces(file, stored):
                part = values[done : done + piece.size]
                if wanted.kind == "i":
                    part[:] = as_labels(stored.name, _scaled(stored, piece))
                else:
                    with np.errstate(over="ignore", invalid="ignore"):
                        part[:] = piece
                done += piece.size
            warnings = _check_end(file, stored) if done == count else []
    except DAMAGED as problem:
        require_readable(stored.name, problem)
        raise InputRefused(f"{stored.name} is damaged ({problem}): get it again") from problem
    if done < count:
        raise InputRefused(
            f"{stored.name} is truncated: its header declares {count} values "
            f"{'×'.join(map(str, stored.shape))}, and it has {done}; get it again"
        )
    return values.reshape(stored.shape, order="F"), warnings


def require_readable(name: str, problem: BaseException) -> None:
    """Raise InputRefused if `problem` does not show damage: no permission, or a failing disk."""
    if isinstance(problem, OSError) and problem.errno in _NOT_READABLE:
        raise InputRefused(f"{name} cannot be read: {reason(problem)}") from problem


def _require_plausible(stored: StoredValues, kind: str) -> None:
    """Raise InputRefused if a file is too small for the size that its header declares."""
    name, size = stored.name, stored.path.stat().st_size
    declared = stored.offset + stored.declared_bytes
    voxels = " × ".join(map(str, stored.shape))
    if prod(stored.shape) > MAX_VOXELS:
        raise InputRefused(f"{name} declares {voxels} voxels, more than any scan has")
    if _packing(stored) == "none":
        if stored.start + declared > size:
            raise InputRefused(
                f"{name} is truncated: it declares {voxels} voxels, {declared} bytes, and has "
                f"{max(size - stored.start, 0)}; get it again"
            )
        return
    if prod(stored.shape) > _HARMLESS_VOXELS[kind] and declared > _MAX_RATIO * size:
        raise InputRefused(
            f"{name} declares {voxels} voxels, {declared >> 20} MiB, in a file of {size >> 10} "
            f"KiB, and no {kind} compresses so well: if it is valid, unpack it (gunzip)"
        )


def _packing(stored: StoredValues) -> Packing:
    if stored.packing != "auto":
        return stored.packing
    return "gzip" if _is_gzip(stored.path) else "none"


@contextmanager
def _opened(stored: StoredValues) -> Iterator[_Readable]:
    """Yield the part of the file with the values, decompressed while it is read."""
    with stored.path.open("rb") as file:
        file.seek(stored.start)
        match _packing(stored):
            case "gzip":
                yield _open_gzip(file)
            case "bzip2":
                yield bz2.BZ2File(file)
            case "zlib":
                yield _Zlib(file)
            case _:
                yield file


class _Zlib:
    """A zlib stream, decompressed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._file.read(_PIECE_BYTES)
            if not packed:
                break
            if unpacked := self._stream.decompress(packed, size):
                return unpacked
        return b""


def _scaled(stored: StoredValues, numbers: NDArray[Any]) -> NDArray[Any]:
    if (stored.slope, stored.intercept) == (1, 0):
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(numbers * stored.slope + stored.intercept)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _skip(file: _Readable, count: int) -> None:
    while count and (piece := file.read(min(count, _PIECE_BYTES))):
        count -= len(piece)


def _pieces(file: _Readable, stored: StoredValues) -> Iterator[NDArray[Any]]:
    """Yield the stored numbers in pieces of some MB, until the end of the values or of the file."""
    size = stored.dtype.itemsize
    remaining = stored.declared_bytes
    rest = b""
    while remaining > 0 and (new := file.read(min(remaining - len(rest), _PIECE_BYTES))):
        piece = rest + new
        whole = len(piece) // size * size
        rest = piece[whole:]
        remaining -= whole
        yield np.frombuffer(piece[:whole], stored.dtype)


def _check_end(file: _Readable, stored: StoredValues) -> list[str]:
    """Read to the end, which checks gzip's checksum; warn if there is another plane or more."""
    plane = prod(stored.shape[:2]) * stored.dtype.itemsize
    more = 0
    while more < plane and (piece := file.read(min(plane, _PIECE_BYTES))):
        more += len(piece)
    if more < plane:
        return []
    return [f"{stored.name} holds more values than its header declares: the rest is ignored"]
