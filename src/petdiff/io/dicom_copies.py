"""Remove duplicate files: those with the same SOPInstanceUID (0008,0018).

Duplicates come from exports, and from zips that were unpacked twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from petdiff.errors import InputRefused
from petdiff.io.dicom_facts import header_fields
from petdiff.io.dicom_file import DicomFile
from petdiff.io.dicom_pixels import same_pixels

_log = logging.getLogger(__name__)

_PLANE_KEYWORDS = ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient")
_CHUNK_BYTES = 1 << 20


def without_copies(files: Sequence[DicomFile]) -> tuple[list[DicomFile], list[str]]:
    """Return one file per image, and a warning if others are copies of it.

    Raises InputRefused that names both files if two have one SOPInstanceUID and differ.
    """
    unique: dict[str, DicomFile] = {}
    copies: list[tuple[DicomFile, DicomFile]] = []
    for file in files:
        uid = str(file.dataset.SOPInstanceUID)
        first = unique.setdefault(uid, file)
        if first is not file:
            copies.append((first, file))
    for first, second in copies:
        if _digest(first) != _digest(second) and (what := _difference(first, second)):
            raise InputRefused(
                f"{first.entry.name} and {second.entry.name} are one image by SOPInstanceUID "
                f"(0008,0018) and differ in {what}: remove one of them"
            )
    if not copies:
        return list(files), []
    first, second = copies[0]
    _log.info("%s is a copy of %s", second.entry.name, first.entry.name)
    share = f"{len(copies)} of {len(files)} files"
    return list(unique.values()), [
        f"{share} are copies of others by SOPInstanceUID (0008,0018) and are left out"
    ]


def _digest(file: DicomFile) -> bytes:
    digest = hashlib.blake2b()
    with file.entry.open() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def _difference(first: DicomFile, second: DicomFile) -> str | None:
    """Return in what two images differ: position, SUV or pixels; None if in nothing."""
    for keyword in _PLANE_KEYWORDS:
        if str(first.dataset.get(keyword)) != str(second.dataset.get(keyword)):
            return keyword
    one, other = header_fields(first.dataset), header_fields(second.dataset)
    for keyword, value in one.items():
        if str(value) != str(other[keyword]):
            return keyword
    if not same_pixels(first, second):
        return "their pixels"
    return None
