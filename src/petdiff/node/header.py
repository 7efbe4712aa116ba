"""Read the UIDs of an image and the number of images of its series from the header."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from petdiff.errors import InputRefused
from petdiff.io.dicom_enhanced import PET_CLASSES
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_file import read_file
from petdiff.io.dicom_search import text_of
from petdiff.io.entries import file_entry

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_reading = threading.Lock()  # pydicom's settings are global
# Counts whose product is the number of images per position, by the first value of SeriesType
# (PS3.3 C.8.9.4.1.4).
_PER_POSITION = {
    "STATIC": (),
    "WHOLE BODY": (),
    "DYNAMIC": ("NumberOfTimeSlices",),
    "GATED": ("NumberOfRRIntervals", "NumberOfTimeSlots"),
}


@dataclass(frozen=True)
class ImageFacts:
    """The UIDs of an image, and the expected number of images of its series, None if unknown."""

    sop_class: str
    instance: str
    series: str
    expected: int | None

    @property
    def is_pet(self) -> bool:
        """Whether it is a PET image, by its SOP class."""
        return self.sop_class in PET_CLASSES


def is_uid(text: str) -> bool:
    """Return whether a text is a UID (PS3.5 9.1), and so a safe file name."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def image_facts(file: Path) -> ImageFacts | None:
    """Return the facts of a DICOM file; None if it is damaged or lacks a UID."""
    try:
        with _reading:
            found = read_file(file_entry(file, file.name), pixels=False)
    except (InputRefused, OSError):
        return None
    if found is None:
        return None
    header = found.dataset
    uids = [text_of(header, f"{name}UID") for name in ("SOPClass", "SOPInstance", "SeriesInstance")]
    if not all(is_uid(uid) for uid in uids):
        return None
    sop_class, instance, series = uids
    return ImageFacts(sop_class, instance, series, _expected(header))


def _expected(header: Dataset) -> int | None:
    """Return the number of images of a series of single-frame images, from one header."""
    # Enhanced PET counts frames, and its number of images per series is free.
    if text_of(header, "SOPClassUID") != PET_CLASSES[0]:
        return None
    names = ("NumberOfSlices", *_PER_POSITION[_series_type(header)])
    try:
        counts = [number_or_none(header, name) for name in names]
    except Exception:  # pydicom raises a dozen kinds on damaged values
        return None
    total = 1
    for count in counts:
        if count is None or count < 1 or count != int(count):
            return None
        total *= int(count)
    return total


def _series_type(header: Dataset) -> str:
    values = text_of(header, "SeriesType").upper()
    return next((kind for kind in _PER_POSITION if kind in values), "STATIC")
