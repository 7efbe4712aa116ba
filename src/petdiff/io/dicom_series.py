"""Finding the PET series among the files of a folder, a zip, or beside one DICOM file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset, config, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage, PositronEmissionTomographyImageStorage

from petdiff.errors import InputRefused
from petdiff.io.entries import Entry, entries_of, folder_entries
from petdiff.suv.header import values_of

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
_NAMING = ("Modality", "SeriesNumber", "SeriesDescription", "CorrectedImage")


@dataclass
class Series:
    """The files of one DICOM series with their headers, which hold all but the pixels."""

    uid: str
    files: list[tuple[Entry, Dataset]] = field(default_factory=list)

    def __getitem__(self, keyword: str) -> str:
        """An attribute that is the same in all files, as text; empty where it is absent."""
        return str(self.files[0][1].get(keyword) or "")

    def __str__(self) -> str:
        corrected = "ATTN" in values_of(self.files[0][1].get("CorrectedImage"))
        return (
            f"{self.uid} (number {self['SeriesNumber'] or 'none'}, "
            f"{self['SeriesDescription'] or 'no description'!r}, {len(self.files)} slices"
            f"{'' if corrected else ', not attenuation corrected'})"
        )


@contextmanager
def pet_series(path: Path, uid: str | None) -> Iterator[Series]:
    """The one PET series at `path`; its files can be opened within the block.

    Raises InputRefused where there is none, or more than one and no uid to choose by.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        # A single file stands for the series it belongs to: one slice is no scan.
        header = read_header(Entry(path.name, lambda: path.open("rb")))
        if header is None:
            raise InputRefused(f"{path.name} is no DICOM, zip, .nii, .nii.gz or .npz file")
        neighbours = folder_entries(path.parent, recursive=False)
        with unjudged():
            yield _choose(path, _scan(neighbours), uid or str(header.SeriesInstanceUID))
        return
    with entries_of(path) as entries, unjudged():
        yield _choose(path, _scan(entries), uid)


def _choose(path: Path, found: Sequence[Series], uid: str | None) -> Series:
    if uid is not None:
        found = [series for series in found if series.uid == uid]
        if not found:
            raise InputRefused(f"{path.name} holds no series {uid}: leave out `series` to see all")
    if not found:
        raise InputRefused(f"{path.name} holds no DICOM file")
    pet = [s for s in found if s["SOPClassUID"] == PositronEmissionTomographyImageStorage]
    if not pet:
        there = "; ".join(f"{s['Modality'] or 'no modality'}: {s}" for s in found)
        raise InputRefused(
            f"{path.name} holds no series of single-frame PET images "
            f"(SOP class {PositronEmissionTomographyImageStorage}), only {there}"
        )
    if len(pet) > 1:
        raise InputRefused(
            f"{path.name} holds {len(pet)} PET series, choose one with `series` UID: "
            + "; ".join(str(s) for s in pet)
        )
    if pet[0]["Modality"] != "PT":
        raise InputRefused(f"{path.name}: Modality (0008,0060) is {pet[0]['Modality']!r}, not PT")
    return pet[0]


def _scan(entries: Sequence[Entry]) -> list[Series]:
    found: dict[str, Series] = {}
    for entry in entries:
        header = read_header(entry)
        if header is None:
            continue
        uid = str(header.SeriesInstanceUID)
        found.setdefault(uid, Series(uid)).files.append((entry, header))
    return list(found.values())


def read_header(entry: Entry) -> Dataset | None:
    """All of a DICOM file but its pixels; None for a file that is no DICOM, or a DICOMDIR."""
    header = read_dataset(entry, stop_before_pixels=True)
    if header is None:
        return None
    try:
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        complete = all(header.get(keyword) for keyword in _IDENTITY)
        for keyword in _NAMING:
            header.get(keyword)  # decoded on first use
    except Exception as problem:  # pydicom raises a dozen kinds on damaged values
        raise InputRefused(f"{entry.name} has a damaged header: {problem}") from problem
    if not complete:
        raise InputRefused(
            f"{entry.name} is DICOM and lacks SOPClassUID (0008,0016), SOPInstanceUID (0008,0018) "
            "or SeriesInstanceUID (0020,000E): truncated? Remove it, or get it again"
        )
    return header


def read_dataset(entry: Entry, *, stop_before_pixels: bool = False) -> Dataset | None:
    """A DICOM file; None where it is none. Raises InputRefused where it breaks off."""
    try:
        with entry.open() as file:
            return dcmread(file, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        return None
    except PermissionError as problem:
        raise InputRefused(f"{entry.name} cannot be opened: {problem.strerror}") from problem
    except InputRefused:
        raise
    except Exception as problem:  # pydicom raises a dozen kinds on damaged files
        raise InputRefused(
            f"{entry.name} breaks off as DICOM ({problem}): truncated? Remove it, or get it again"
        ) from problem


@contextmanager
def unjudged() -> Iterator[None]:
    """Let pydicom take and give back values that break a VR's rules: real headers hold many."""
    settings = config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode
    settings.reading_validation_mode = settings.writing_validation_mode = config.IGNORE
    try:
        yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = before
