"""Text headers of NRRD and MetaImage: what they declare, and where the values lie.

They are read here before SimpleITK reads the file, so that what is declared is compared with what
is there, and so that a header cannot name any file of the machine as its data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.io.stored_values import require_plausible

_MOST_HEADER_BYTES = 1 << 20
_LINE = re.compile(r"([^:=]+?)\s*(?::=|:|=)\s*(.*)")
_BITS = {
    "char": 8, "uchar": 8, "int8": 8, "uint8": 8, "short": 16, "ushort": 16, "int16": 16,
    "uint16": 16, "int": 32, "uint": 32, "int32": 32, "uint32": 32, "float": 32, "double": 64,
    "long": 64, "ulong": 64, "int64": 64, "uint64": 64, "longlong": 64, "ulonglong": 64,
}  # fmt: skip
_SPACE_UNITS = {"m": "metres", "mm": "millimetres", "um": "micrometres", "µm": "micrometres"}


@dataclass(frozen=True)
class TextHeader:
    """fields: by name in lower case; data: the file with the values, the header's own or another.

    shape: as declared, the first axis varies fastest.
    """

    fields: Mapping[str, str]
    data: Path
    shape: tuple[int, ...]

    @property
    def has_directions(self) -> bool:
        """Whether the header says how the axes lie in the patient."""
        return bool({"space", "transformmatrix", "orientation", "rotation"} & self.fields.keys())

    @property
    def length_unit(self) -> str | None:
        """The unit of NRRD's `space units`, None where there is none that is known."""
        stated = re.findall(r'"([^"]*)"', self.fields.get("space units", ""))
        return _SPACE_UNITS.get(stated[0]) if stated else None


def read_text_header(path: Path, kind: str) -> TextHeader:
    """Read the header of a .nrrd, .nhdr, .mha or .mhd, and hold it against the file.

    kind  scan or label map, for what may be plausible

    Raises InputRefused for a header that is damaged, whose values lie outside its own folder, or
    that declares more than is there.
    """
    fields = _fields(path)
    shape = _numbers(path, fields.get("sizes") or fields.get("dimsize") or "")
    data = _data_file(path, fields)
    nrrd = "sizes" in fields
    packed = (
        fields.get("encoding", "raw").lower() != "raw"
        if nrrd
        else fields.get("compresseddata", "").lower() == "true"
        or fields.get("binarydata", "true").lower() == "false"
    )
    declared = prod(shape) * _itemsize(fields.get("type") or fields.get("elementtype", ""))
    require_plausible(path.name, shape, declared, data, packed=packed, kind=kind)
    return TextHeader(fields, data, shape)


def _fields(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        content = file.read(_MOST_HEADER_BYTES)
    if content.startswith(b"NRRD000"):
        content = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0]
    elif b"=" not in content[:100]:
        raise InputRefused(f"{path.name} is neither NRRD nor MetaImage: it begins otherwise")
    fields: dict[str, str] = {}
    for raw in content.splitlines():
        line = raw[:10_000].decode("utf-8", errors="replace")
        if (found := _LINE.fullmatch(line.strip())) and not line.startswith("#"):
            fields[found[1].strip().lower()] = found[2].strip()
        if line.lower().startswith("elementdatafile"):
            break
    return fields


def _data_file(path: Path, fields: Mapping[str, str]) -> Path:
    name = fields.get("elementdatafile") or fields.get("data file") or fields.get("datafile") or ""
    if name in ("", "LOCAL", "local"):
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise InputRefused(f"{path.name} has its values in several files: join them into one")
    data = path.parent / name
    if Path(name).name != name or not data.is_file():
        raise InputRefused(
            f"{path.name} has its values in {name}, which is not beside it: put the two together"
        )
    return data


def _numbers(path: Path, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.split())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or len(numbers) > 16:
        raise InputRefused(f"{path.name} has a damaged header: its size is {text[:60]!r}")
    return numbers


def _itemsize(stored_type: str) -> int:
    """Bytes of a value by NRRD's or MetaImage's name of its type; 1 where it is not known."""
    name = stored_type.lower().removeprefix("met_").replace("unsigned ", "u").replace("_t", "")
    name = name.replace("signed ", "").replace("long long int", "longlong").replace(" int", "")
    return _BITS.get(name.replace(" ", "").replace("_array", ""), 8) // 8


def lps_to_ras(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn an affine into left, posterior, superior to right, anterior, superior, or back."""
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
