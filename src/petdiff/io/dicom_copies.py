"""Files that hold one image twice by its identity in DICOM, SOPInstanceUID (0008,0018).

Exports and zips that were unpacked twice leave such copies.
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

_OF_THE_PLANE = ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient")
_CHUNK_BYTES = 1 << 20


def without_copies(files: Sequence[DicomFile]) -> tuple[list[DicomFile], list[str]]:
    """Return one file per image, and a warning where others are copies of it.

    Raises InputRefused, naming both files, where two claim to be one image and differ.
    """
    kept: dict[str, DicomFile] = {}
    copies: list[tuple[DicomFile, DicomFile]] = []
    for file in files:
        uid = str(file.dataset.SOPInstanceUID)
        first = kept.setdefault(uid, file)
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
    return list(kept.values()), [
        f"{share} are copies of others by SOPInstanceUID (0008,0018) and are left out"
    ]


def _digest(file: DicomFile) -> bytes:
    digest = hashlib.blake2b()
    with file.entry.open() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def _difference(first: DicomFile, second: DicomFile) -> str | None:
    """Return what differs of two images in place, SUV or pixels; None where nothing does."""
    for keyword in _OF_THE_PLANE:
        if str(first.dataset.get(keyword)) != str(second.dataset.get(keyword)):
            return keyword
    one, other = header_fields(first.dataset), header_fields(second.dataset)
    for keyword, value in one.items():
        if str(value) != str(other[keyword]):
            return keyword
    if not same_pixels(first, second):
        return "their pixels"
    return None
