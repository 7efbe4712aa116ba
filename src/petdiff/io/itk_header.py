"""Parse the text headers of NRRD and MetaImage, and make a header for SimpleITK.

petdiff reads the values itself. SimpleITK gets a short header with the geometry only, to interpret
spaces and directions. So it reads no other text of the file (long lines in a NRRD header crash it)
and opens no file that a header names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from petdiff.errors import InputRefused
from petdiff.io.stored_values import Packing, StoredValues

_MAX_HEADER_BYTES = 1 << 20
_MAX_FIELD_CHARACTERS = 500  # of a geometry field
_FIELD = re.compile(r"([^:=]+?)\s*(:=|:|=)\s*(.*)")
_PLAIN = re.compile(r"[\w ()+,.\-/]*", re.ASCII)
_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_META_TYPES = {
    "i1": ("met_char",), "u1": ("met_uchar",), "i2": ("met_short",), "u2": ("met_ushort",),
    "i4": ("met_int", "met_long"), "u4": ("met_uint", "met_ulong"), "i8": ("met_long_long",),
    "u8": ("met_ulong_long",), "f4": ("met_float",), "f8": ("met_double",),
}  # fmt: skip
_CODES = {
    name: code
    for types in (_NRRD_TYPES, _META_TYPES)
    for code, names in types.items()
    for name in names
}
_NRRD_PACKING: dict[str, Packing] = {
    "raw": "none", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
}  # fmt: skip
# "space dimension" must be before the directions.
_NRRD_GEOMETRY = (
    "space", "space dimension", "space directions", "space origin", "spacings", "axis mins",
    "axis maxs", "axismins", "axismaxs", "centers", "centerings",
)  # fmt: skip
_META_GEOMETRY = (
    "TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin",
    "ElementSpacing", "ElementSize",
)  # fmt: skip
_SPACE_UNITS = {"m": "metres", "mm": "millimetres", "um": "micrometres", "µm": "micrometres"}


@dataclass(frozen=True)
class TextHeader:
    """A parsed header.

    stored    place and type of the stored numbers
    geometry  text of a header for SimpleITK
    fields    all fields, names in lower case
    """

    stored: StoredValues
    geometry: str
    fields: Mapping[str, str]

    @property
    def has_directions(self) -> bool:
        """Whether the header states the directions of the axes in the patient."""
        return bool({"space", "transformmatrix", "orientation", "rotation"} & self.fields.keys())

    @property
    def length_unit(self) -> str | None:
        """The unit of NRRD's `space units`, None if it is absent or unknown."""
        stated = re.findall(r'"([^"]*)"', self.fields.get("space units", ""))
        return _SPACE_UNITS.get(stated[0]) if stated else None


def read_text_header(path: Path) -> TextHeader:
    """Read the header of a .nrrd, .nhdr, .mha or .mhd.

    Raises InputRefused for a damaged header, for values outside the header's folder, and for data
    that are not one 3-D volume of numbers.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_HEADER_BYTES)
    if content.startswith(b"NRRD000"):
        return _nrrd(path, content)
    if b"=" in content[:100]:
        return _metaimage(path, content)
    raise InputRefused(f"{path.name} is neither NRRD nor MetaImage: it does not begin like one")


def _nrrd(path: Path, content: bytes) -> TextHeader:
    end = re.search(rb"\n\r?\n", content)
    fields = _fields(content[: end.start()] if end else content)
    shape = _shape(path, fields.get("sizes", ""))
    _require_one_value(path, fields.get("kinds", ""))
    encoding = fields.get("encoding", "").lower()
    if encoding not in _NRRD_PACKING or fields.get("line skip", "0") != "0":
        raise InputRefused(
            f"{path.name} has the encoding {encoding[:40]!r}, which is not read: save it as raw "
            "or gzip"
        )
    data = _data_file(path, fields.get("data file") or fields.get("datafile") or "")
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    dtype = _dtype(path, fields.get("type", ""), order)
    start = _whole(path, "byte skip", fields.get("byte skip", "0"))
    if data == path:
        if end is None:
            raise InputRefused(f"{path.name} is truncated: its header has no end; get it again")
        start += end.end() if start >= 0 else 0
    if start < 0:  # the values are the last bytes of the file
        start = max(data.stat().st_size - prod(shape) * dtype.itemsize, 0)
    stored = StoredValues(
        data, path.name, 0, shape, dtype, start=start, packing=_NRRD_PACKING[encoding]
    )
    lines = ["NRRD0004", "type: uchar", "dimension: 3", "encoding: raw"]
    lines.append("sizes: " + " ".join(map(str, shape)))
    lines += [f"{name}: {_plain(path, fields[name])}" for name in _NRRD_GEOMETRY if name in fields]
    return TextHeader(stored, "\n".join(lines) + "\n\n", fields)


def _metaimage(path: Path, content: bytes) -> TextHeader:
    last = re.search(rb"ElementDataFile\s*=\s*([^\r\n]*)\r?\n?", content)
    if last is None:
        raise InputRefused(f"{path.name} is truncated: it has no ElementDataFile; get it again")
    fields = _fields(content[: last.end()])
    shape = _shape(path, fields.get("dimsize", ""))
    if fields.get("elementnumberofchannels", "1") != "1":
        _require_one_value(path, "vector")
    if fields.get("binarydata", "true").lower() == "false":
        raise InputRefused(f"{path.name} has its values as text, which is not read: save it binary")
    data = _data_file(path, last[1].decode("utf-8", errors="replace").strip())
    big = fields.get("binarydatabyteordermsb") or fields.get("elementbyteordermsb") or "false"
    dtype = _dtype(path, fields.get("elementtype", ""), ">" if big.lower() == "true" else "<")
    packing: Packing = "zlib" if fields.get("compresseddata", "").lower() == "true" else "none"
    start = _whole(path, "HeaderSize", fields.get("headersize", "0"))
    if start < 0:
        start = max(data.stat().st_size - prod(shape) * dtype.itemsize, 0)
    if data == path:
        start = last.end()
    stored = StoredValues(data, path.name, 0, shape, dtype, start=start, packing=packing)
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = " + " ".join(map(str, shape))]
    for name in _META_GEOMETRY:
        if (value := fields.get(name.lower())) is not None:
            lines.append(f"{name} = {_plain(path, value)}")
    lines += ["ElementType = MET_UCHAR", "ElementDataFile = LOCAL"]
    return TextHeader(stored, "\n".join(lines) + "\n", fields)


def _fields(content: bytes) -> dict[str, str]:
    """Return the fields by name in lower case; comments are left out."""
    fields: dict[str, str] = {}
    for raw in content.splitlines():
        line = raw.decode("utf-8", errors="replace").strip()
        if not line.startswith("#") and (found := _FIELD.fullmatch(line)):
            fields.setdefault(found[1].strip().lower(), found[3].strip())
    return fields


def _data_file(path: Path, name: str) -> Path:
    """Return the file with the values: the header's own, or one in the same folder."""
    if name in ("", "LOCAL", "local"):
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise InputRefused(f"{path.name} has its values in several files: join them into one")
    inside = Path(name).name == name and len(name) <= 255 and name.isprintable()
    if not inside or not path.with_name(name).is_file():
        raise InputRefused(
            f"{path.name} has its values in {name[:80]!r}, which is not beside it: put the two "
            "together"
        )
    return path.with_name(name)


def _shape(path: Path, text: str) -> tuple[int, ...]:
    words = text.split()
    if not words or len(words) > 16 or not all(re.fullmatch(r"\d{1,9}", w, re.A) for w in words):
        raise InputRefused(f"{path.name} has a damaged header: its size is {text[:60]!r}")
    shape = tuple(int(word) for word in words)
    if len(shape) != 3 or 0 in shape:
        raise InputRefused(
            f"{path.name} has {len(shape)} dimensions {shape}, and a 3-D volume is wanted: split it"
        )
    return shape


def _require_one_value(path: Path, kinds: str) -> None:
    if other := set(kinds.lower().split()) - {"domain", "space", "none", "???"}:
        raise InputRefused(
            f"{path.name} has several values per voxel ({', '.join(sorted(other))[:60]}), and one "
            "is wanted: split it"
        )


def _dtype(path: Path, name: str, order: str) -> np.dtype[np.generic]:
    code = _CODES.get(" ".join(name.lower().split()))
    if code is None:
        raise InputRefused(f"{path.name} holds {name[:40]!r}, which are not plain numbers")
    return np.dtype(order + code)


def _whole(path: Path, what: str, text: str) -> int:
    if not re.fullmatch(r"-1|\d{1,12}", text, re.ASCII):
        raise InputRefused(f"{path.name} has a damaged header: {what} is {text[:40]!r}")
    return int(text)


def _plain(path: Path, value: str) -> str:
    """Return a geometry field. Raises InputRefused if it is long or has unusual characters."""
    if len(value) > _MAX_FIELD_CHARACTERS or not _PLAIN.fullmatch(value):
        raise InputRefused(f"{path.name} has a damaged header: {value[:60]!r}")
    return value
