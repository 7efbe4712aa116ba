"""Recognise a DICOM file, with or without a file header, by its first bytes.

Many scanners and archives write the data set alone: no preamble, no "DICM", no group 0002
(DICOM PS3.10 7.1 requires all three). Such a file counts as DICOM if its elements can be parsed up
to SOPClassUID (0008,0016) or SOPInstanceUID (0008,0018), and if that holds a UID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

HEAD_BYTES = 16_384  # of a file, that are examined

_Encoding = Literal["implicit", "explicit", "big"]
_PREAMBLE = 128
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR",
                   b"UT", b"UV"})  # fmt: skip
_SHORT = frozenset({b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO",
                    b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL",
                    b"US"})  # fmt: skip
_UID = re.compile(rb"[0-9]+(\.[0-9]+)+[\0 ]*")
_TRANSFER_SYNTAX = 0x00020010
_IDENTITY = (0x00080016, 0x00080018)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MAX_VALUE_BYTES = 1024  # of an element before SOPClassUID


@dataclass(frozen=True)
class DicomStart:
    """Hold the position at which a reader of a DICOM file begins.

    offset         of the preamble, or of the first element where there is no preamble
    deflated_from  where the deflated data set begins; None for one that is not deflated
    """

    offset: int
    deflated_from: int | None = None


class _Element(NamedTuple):
    tag: int
    value: bytes
    end: int


def find_start(head: bytes) -> DicomStart | None:
    """Return the start of a DICOM file from its first HEAD_BYTES bytes; None for another file."""
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return _with_meta(head, 0, _PREAMBLE + 4)
    if head[:4] == b"DICM":
        return _with_meta(head, 4, 4)
    for start in (0, _PREAMBLE + 4):  # the second: a preamble whose "DICM" is damaged
        if head[start : start + 2] == b"\x02\x00" and _is_meta(head, start):
            return _with_meta(head, start, start)
    encodings: tuple[_Encoding, ...] = ("explicit", "implicit", "big")
    for start in (0, _PREAMBLE):
        if any(_has_identity(head, start, encoding) for encoding in encodings):
            return DicomStart(start)
    return None


def _with_meta(head: bytes, start: int, meta: int) -> DicomStart:
    """Return the start of a file whose group 0002 begins at `meta`."""
    end, syntax = meta, b""
    for element in _elements(head, meta, "explicit"):
        if element.tag >> 16 != 2:
            break
        if element.tag == _TRANSFER_SYNTAX:
            syntax = element.value.rstrip(b"\0 ")
        end = element.end
    return DicomStart(start, end if syntax == _DEFLATED else None)


def _is_meta(head: bytes, start: int) -> bool:
    return any(
        element.tag == _TRANSFER_SYNTAX and _UID.fullmatch(element.value)
        for element in _elements(head, start, "explicit")
    )


def _has_identity(head: bytes, start: int, encoding: _Encoding) -> bool:
    for element in _elements(head, start, encoding):
        if element.tag >> 16 != 8 or len(element.value) > _MAX_VALUE_BYTES:
            return False
        if element.tag in _IDENTITY:
            return _UID.fullmatch(element.value) is not None
    return False


def _elements(head: bytes, position: int, encoding: _Encoding) -> Iterator[_Element]:
    """Yield elements of defined length while their tags ascend and they lie within `head`."""
    order: Literal["big", "little"] = "big" if encoding == "big" else "little"
    before = -1
    while position + 8 <= len(head):
        group, number = (
            int.from_bytes(head[at : at + 2], order) for at in (position, position + 2)
        )
        tag, vr = group << 16 | number, head[position + 4 : position + 6]
        if encoding == "implicit":
            value = position + 8
            length = int.from_bytes(head[position + 4 : value], order)
        elif vr in _LONG:
            value = position + 12
            length = int.from_bytes(head[position + 8 : value], order)
        elif vr in _SHORT:
            value = position + 8
            length = int.from_bytes(head[position + 6 : value], order)
        else:
            return
        if tag <= before or value + length > len(head):
            return
        yield _Element(tag, head[value : value + length], value + length)
        before, position = tag, value + length
