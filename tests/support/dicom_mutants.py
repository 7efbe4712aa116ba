"""Damaged DICOM series and zips for tests: each a sound one with a random change, by a generator.

The same generator state gives the same damage. What is made here must be read, or refused in one
line; nothing else may happen.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from support.dicom_factory import bare, pet_slices
from support.enhanced_factory import enhanced

Series = dict[str, bytes]
_PIXELS = np.random.default_rng(0).integers(0, 3000, (3, 32, 32), dtype=np.int16)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"}
_VRS = [b"CS", b"DA", b"DS", b"DT", b"FD", b"IS", b"LO", b"PN", b"SH", b"SQ", b"TM", b"UI", b"UL",
        b"UN", b"US", b"OW", b"AT", b"XX", b"\0\0"]  # fmt: skip
_LENGTHS = [0, 1, 2, 7, 255, 65534, 65535]
_LONG_LENGTHS = [0, 1, 1 << 16, 1 << 30, 0xFFFFFFFE, 0xFFFFFFFF]
_NUMBERS = ["", "abc", "1e999", "-1", "0", "1e-300", "1e300", "99999999999999999999", "NaN", "inf",
            "1,5", "1\\2", "1\\2\\3\\4\\5\\6\\7", "0x10", "--", "1e15", "-1e15"]  # fmt: skip
_TIMES = ["", "00010101", "00000000", "99991231", "20240230", "240000", "235960.999999", "1",
          "0001",
          "20240102+9900", "20240102090000.000000-9900", "00010101000000+1400", "2024.01.02",
          "99991231235959.999999", "19000101", "abcdefgh", "20240102090000+0x00",
          "１２３４５６"]  # fmt: skip
_TEXTS = ["", "\x1b[31m", "\\", "\\\\", "^", "NONE", "ADMIN", "PROPCNTS", "x" * 300, "\0", "ATTN",
          "ISO 2022 IR 87", "ISO_IR 999", "\\ISO 2022 IR 159", "ü"]  # fmt: skip
_SHORTS = [0, 1, 2, 3, 8, 12, 255, 32767, 32768, 65535]
_OF_THE_PLANE = (0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101,
                 0x00280102, 0x00280103, 0x00280030, 0x00200032, 0x00200037, 0x00281052,
                 0x00281053)  # fmt: skip


class Element(NamedTuple):
    """An explicit little endian element within bytes: where it, its length and its value lie."""

    tag: int
    vr: bytes
    start: int
    length_at: int
    value: int
    end: int


def bases() -> dict[str, Series]:
    """Sound series, one per way in which DICOM comes, by name: file names to contents."""
    found = {"explicit": _files(_slices())}
    found["implicit"] = {f"{k}.dcm": bare(ds) for k, ds in enumerate(_slices())}
    found["big endian"] = {
        f"{k}.dcm": bare(ds, implicit=False, little=False) for k, ds in enumerate(_slices())
    }
    for name, syntax in (
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("RLE", RLELossless),
        ("JPEG-LS", JPEGLSLossless),
        ("JPEG 2000", JPEG2000Lossless),
    ):
        slices = _slices()
        for ds in slices:
            if syntax == DeflatedExplicitVRLittleEndian:
                ds.file_meta.TransferSyntaxUID = syntax
            else:
                ds.compress(syntax, generate_instance_uid=False)
        found[name] = _files(slices)
    found["enhanced"] = _files([enhanced(_slices(), SOPInstanceUID="1.2.3.9")])
    return found


def _slices() -> list[Dataset]:
    """A sound series that is the same at every call."""

    def numbered(k: int, ds: Dataset) -> None:
        ds.SOPInstanceUID = f"1.2.3.{k}"

    return pet_slices(
        _PIXELS,
        edit=numbered,
        SeriesInstanceUID="1.2.3",
        StudyInstanceUID="1.2",
        FrameOfReferenceUID="1.2.4",
    )


def damaged_series(sound: Series, rng: np.random.Generator) -> tuple[str, Series]:
    """Damage one file of a series, or all of them alike; returns what was done, and the files."""
    damage = _DAMAGES[rng.integers(len(_DAMAGES))]
    everywhere = rng.random() < 0.5
    victim = sorted(sound)[rng.integers(len(sound))]
    seed = int(rng.integers(1 << 31))
    files = {
        name: damage(content, np.random.default_rng(seed))
        if everywhere or name == victim
        else content
        for name, content in sound.items()
    }
    return f"{damage.__name__.strip('_')} {'everywhere' if everywhere else 'once'}", files


def damaged_zip(sound: Series, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a zip of a series; returns what was done, and the zip."""
    buffer = io.BytesIO()
    method = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA][
        rng.integers(4)
    ]
    nested = rng.random() < 0.3
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, content in sound.items():
            out.writestr(name, content)
    content = buffer.getvalue()
    if nested:
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w", zipfile.ZIP_STORED) as out:
            out.writestr("inner.zip", content)
        content = outer.getvalue()
    damage = [_flip, _truncate, _splice, _zip_field, _zip_field, _zip_field][rng.integers(6)]
    where = "nested " if nested else ""
    return f"{where}zip, method {method}: {damage.__name__.strip('_')}", damage(content, rng)


def elements(content: bytes) -> Iterator[Element]:
    """Yield the elements of an explicit little endian file, as far as they can be walked."""
    at = 132 if content[128:132] == b"DICM" else 0
    while at + 12 <= len(content):
        tag = int.from_bytes(content[at : at + 2], "little") << 16
        tag |= int.from_bytes(content[at + 2 : at + 4], "little")
        vr = content[at + 4 : at + 6]
        length_at, size = (at + 8, 4) if vr in _LONG else (at + 6, 2)
        length = int.from_bytes(content[length_at : length_at + size], "little")
        value = length_at + size
        if length == 0xFFFFFFFF or value + length > len(content):
            return
        yield Element(tag, vr, at, length_at, value, value + length)
        at = value + length


def _files(slices: Sequence[Dataset]) -> Series:
    files = {}
    for k, ds in enumerate(slices):
        out = io.BytesIO()
        ds.save_as(out, enforce_file_format=True)
        files[f"{k}.dcm"] = out.getvalue()
    return files


def _one(content: bytes, rng: np.random.Generator) -> Element | None:
    """An element at random; every other time one that the plane hangs on."""
    found = list(elements(content))
    wanted = [element for element in found if element.tag in _OF_THE_PLANE]
    if wanted and rng.random() < 0.5:
        found = wanted
    return found[rng.integers(len(found))] if found else None


def _with_value(content: bytes, element: Element, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    size = element.value - element.length_at
    length = min(len(value), 256**size - 2).to_bytes(size, "little")
    return content[: element.length_at] + length + value + content[element.end :]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    where = rng.integers(0, len(changed), rng.integers(1, 9))
    if rng.random() < 0.7:  # in the header, where most is at stake
        where %= min(len(changed), 1800)
    changed[where] = rng.integers(0, 256, len(where))
    return changed.tobytes()


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _splice(content: bytes, rng: np.random.Generator) -> bytes:
    """Remove, repeat or insert a piece."""
    a, b = sorted(int(n) for n in rng.integers(0, len(content), 2))
    b = min(b, a + 200)
    kind = rng.integers(3)
    if kind == 0:
        return content[:a] + content[b:]
    piece = content[a:b] if kind == 1 else rng.bytes(b - a)
    return content[:a] + piece + content[a:]


def _delete(content: bytes, rng: np.random.Generator) -> bytes:
    element = _one(content, rng)
    return content if element is None else content[: element.start] + content[element.end :]


def _value(content: bytes, rng: np.random.Generator) -> bytes:
    """Another value of the same kind: none, odd, extreme or absurd."""
    element = _one(content, rng)
    if element is None:
        return content
    if element.vr in (b"DS", b"IS"):
        value = _NUMBERS[rng.integers(len(_NUMBERS))].encode()
    elif element.vr in (b"DA", b"TM", b"DT"):
        value = _TIMES[rng.integers(len(_TIMES))].encode()
    elif element.vr in (b"US", b"SS"):
        value = int(_SHORTS[rng.integers(len(_SHORTS))]).to_bytes(2, "little")
        value *= int(rng.integers(1, 3))
    elif element.vr == b"SQ":
        value = content[element.value : element.end][: rng.integers(element.end - element.value)]
    else:
        value = _TEXTS[rng.integers(len(_TEXTS))].encode()
    return _with_value(content, element, value)


def _nested_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Another number or time within a sequence: dose, half-life, injection."""
    start = content.find(b"\x54\0\x16\0SQ")
    places = [n for n in range(max(start, 0), len(content) - 8) if content[n : n + 2] in
              (b"DS", b"TM", b"DT") and content[n + 3] == 0] if start > 0 else []  # fmt: skip
    if not places:
        return _value(content, rng)
    at = places[rng.integers(len(places))]
    length = content[at + 2]
    kind = _NUMBERS if content[at : at + 2] == b"DS" else _TIMES
    value = kind[rng.integers(len(kind))].encode()[:length].ljust(length)
    return content[: at + 4] + value + content[at + 4 + length :]


def _random_value(content: bytes, rng: np.random.Generator) -> bytes:
    element = _one(content, rng)
    if element is None:
        return content
    return _with_value(content, element, rng.bytes(int(rng.integers(0, 40))))


def _length(content: bytes, rng: np.random.Generator) -> bytes:
    element = _one(content, rng)
    if element is None:
        return content
    size = element.value - element.length_at
    lengths = _LENGTHS if size == 2 else _LONG_LENGTHS
    length = lengths[rng.integers(len(lengths))].to_bytes(size, "little")
    return content[: element.length_at] + length + content[element.value :]


def _vr(content: bytes, rng: np.random.Generator) -> bytes:
    element = _one(content, rng)
    if element is None:
        return content
    vr = _VRS[rng.integers(len(_VRS))]
    return content[: element.start + 4] + vr + content[element.start + 6 :]


def _frames(content: bytes, rng: np.random.Generator) -> bytes:
    """Add a NumberOfFrames (0028,0008) before Rows."""
    at = content.find(b"\x28\0\x10\0US")
    value = _NUMBERS[rng.integers(len(_NUMBERS))].encode()
    value += b" " * (len(value) % 2)
    element = b"\x28\0\x08\0IS" + len(value).to_bytes(2, "little") + value
    return content if at < 0 else content[:at] + element + content[at:]


def _deep(content: bytes, rng: np.random.Generator) -> bytes:
    """Sequences within sequences, some thousand deep, before the pixels."""
    at = content.find(b"\xe0\x7f\x10\0")
    depth = int(rng.integers(10, 4000))
    opening = b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return content if at < 0 else content[:at] + opening * depth + content[at:]


def _zip_field(content: bytes, rng: np.random.Generator) -> bytes:
    """Another value of a field in a local header, the directory or its end."""
    places = [found.start() for found in re.finditer(rb"PK(\x03\x04|\x01\x02|\x05\x06)", content)]
    at = places[rng.integers(len(places))] + int(rng.integers(4, 46))
    size = int(rng.choice([1, 2, 4]))
    values = [b"\0" * size, b"\xff" * size, b"\x01".ljust(size, b"\0"), rng.bytes(size)]
    return content[:at] + values[rng.integers(4)] + content[at + size :]


_DAMAGES: list[Callable[[bytes, np.random.Generator], bytes]] = [
    _flip, _flip, _truncate, _splice, _delete, _value, _value, _value, _nested_value,
    _nested_value, _random_value, _length, _length, _vr, _frames, _deep,
]  # fmt: skip
