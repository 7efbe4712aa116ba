"""Choose the one PET series of a folder, a zip or a file, and check that it is complete.

Warnings are recorded with the result. File names are only logged, because they may contain the name
of a patient.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

from pydicom.uid import UID

from petdiff.errors import InputRefused, SeveralSeriesRefused
from petdiff.io.dicom_copies import without_copies
from petdiff.io.dicom_enhanced import PET_CLASSES
from petdiff.io.dicom_file import DamagedFile, DicomFile, decode_all, lenient_pydicom
from petdiff.io.dicom_search import SearchResult, Series, is_pet, search_dicom, text_of
from petdiff.io.entries import Entry
from petdiff.io.formats import DICOM, ITK, NIFTI, NPZ, suffix_of
from petdiff.terminal import one_line
from petdiff.units import counted

_log = logging.getLogger(__name__)

# One UID that must exist, several UIDs of which one should exist, or None.
SeriesUID = str | Sequence[str] | None

_MAX_NAMED = 5
_MAX_LISTED = 20
# A series belongs to one patient and one study. Some anonymisers give scans the same series UID.
_OWNERS = {"PatientID": "PatientID (0010,0020)", "StudyInstanceUID": "StudyInstanceUID (0020,000D)"}


@contextmanager
def pet_series(path: Path, uid: SeriesUID, *, recursive: bool = True) -> Iterator[Series]:
    """Yield the one PET series at `path`; its files can be opened within the block.

    recursive  search the subfolders of a folder, too

    Raises InputRefused if there is no series, or several and no uid; if a file of the series is
    damaged, or if a file that is named like its slices is not DICOM; if files of several patients
    or studies have its UID.
    """
    with lenient_pydicom(), search_dicom(path, recursive=recursive) as (found, own_uid):
        series = _choose(path, found, uid or own_uid)
        _require_whole(series, found, alone=own_uid is not None)
        _keep_pet(series)
        for file in series.files:
            decode_all(file)
        _require_one_owner(series.files)
        series.files, copies = without_copies(series.files)
        series.warnings += copies
        series.warnings += _notes(series.files)
        yield series


def _choose(path: Path, found: SearchResult, uid: SeriesUID) -> Series:
    name = one_line(path.resolve().name or path)
    chosen = list(found.series.values())
    wanted = [uid] if isinstance(uid, str) else list(uid or ())
    requested = [series for series in chosen if series.uid in wanted]
    if isinstance(uid, str) and not requested:
        raise InputRefused(
            f"{name} holds no series {one_line(uid)}, but {_listing(found.pet) or 'no PET'}"
        )
    chosen = requested or chosen
    pet = [series for series in chosen if series.is_pet]
    volumes = [series for series in pet if not series.is_projection]
    if pet and not volumes:
        raise InputRefused(
            f"{name} holds projections of PET, no volume: SeriesType (0054,1000) of "
            f"{_listing(pet)} is REPROJECTION; give the series that they were made of"
        )
    pet = volumes
    if len(pet) == 1:
        return pet[0]
    if len(pet) > 1:
        raise SeveralSeriesRefused(f"{name} holds {len(pet)} PET series", _listing(pet))
    if found.damaged:
        raise found.damaged[0]
    if chosen:
        each = [f"{s['Modality'] or 'no modality'}: {s}" for s in chosen]
        raise InputRefused(
            f"{name} holds no series of PET images (SOP class {PET_CLASSES[0]} or "
            f"{PET_CLASSES[1]}), only {_some(each, _MAX_LISTED, '; ')}"
        )
    raise InputRefused(f"{name} holds no DICOM file{_what_else(found.others)}")


def _listing(series: Sequence[Series]) -> str:
    return _some([str(s) for s in series], _MAX_LISTED, "; ")


def _what_else(others: Sequence[Entry]) -> str:
    """Return what a folder without DICOM holds, and how a volume in it is read."""
    if not others:
        return ""
    names = [entry.name for entry in others]
    volumes = [name for name in names if suffix_of(Path(name)) in (*NIFTI, *ITK, *NPZ)]
    remedy = f": give {volumes[0]} itself if it is the scan" if volumes else ""
    return f", only {_some(names, _MAX_NAMED)}{remedy}"


def _some(names: Sequence[str], count: int, separator: str = ", ") -> str:
    more = [f"and {len(names) - count} more"] if len(names) > count else []
    return separator.join([*names[:count], *more])


def _require_whole(series: Series, found: SearchResult, *, alone: bool) -> None:
    """Raise the error of a damaged file that may belong to the series.

    alone  a single file was given: damaged files with an unknown series only give a warning,
           because they may belong to other scans
    """
    unknown = [problem for problem in found.damaged if not problem.series_uid]
    for problem in found.damaged:
        if problem.series_uid == series.uid or not (problem.series_uid or alone):
            raise problem
    for file in series.files:
        if is_pet(file) and not file.has_pixels:
            raise DamagedFile(
                f"{file.entry.name} has no PixelData (7FE0,0010): truncated? Remove it, or get it "
                "again"
            )
    unknown += [
        DamagedFile(
            f"{entry.name} is named like a slice of the series and is no DICOM ({entry.size} "
            "bytes): damaged? Get it again, or remove it if it is none"
        )
        for entry in _named_like_slices(series, found.others)
    ]
    if unknown and not alone:
        raise unknown[0]
    for problem in unknown[:_MAX_NAMED]:
        _log.info("beside the scan: %s", problem)
    if unknown:
        series.warnings.append(
            f"{counted(len(unknown), 'file')} beside the scan cannot be read: if they belong to "
            "it, the scan is cut short"
        )


def _named_like_slices(series: Series, others: Sequence[Entry]) -> list[Entry]:
    """Return the files that are not DICOM but are named like slices of the series."""
    shapes = {(file.entry.folder, _shape(file.entry.name)) for file in series.files}
    suffixes = {(folder, PurePath(shape).suffix) for folder, shape in shapes}
    found = []
    for entry in others:
        shape = _shape(entry.name)
        suffix = PurePath(shape).suffix
        is_dicom_suffix = suffix in DICOM and (entry.folder, suffix) in suffixes
        if is_dicom_suffix or (entry.folder, shape) in shapes:
            found.append(entry)
    return found


def _shape(name: str) -> str:
    """Return a file's name with all numbers replaced by 0: im0.dcm for IM0012.dcm."""
    return re.sub(r"[0-9a-f]{8,}|[0-9]+", "0", PurePath(name).name.lower())


def _keep_pet(series: Series) -> None:
    """Remove files that are not PET images from the series, with a warning."""
    others = [file for file in series.files if not is_pet(file)]
    if others:
        kinds = sorted({UID(text_of(file.dataset, "SOPClassUID")).name for file in others})
        _log.info("no PET image: %s", others[0].entry.name)
        series.warnings.append(
            f"{counted(len(others), 'file')} of the series left out, because not PET images "
            f"({one_line(', '.join(kinds))})"
        )
    series.files = [file for file in series.files if is_pet(file)]
    if series["Modality"] != "PT":
        raise InputRefused(
            f"{series.files[0].entry.name}: Modality (0008,0060) is {series['Modality']!r}, not PT"
        )


def _require_one_owner(files: Sequence[DicomFile]) -> None:
    """Raise InputRefused if files belong to several patients or studies; it names two files."""
    for keyword, name in _OWNERS.items():
        first: tuple[str, DicomFile] | None = None
        for file in files:
            text = text_of(file.dataset, keyword)
            first = first or ((text, file) if text else None)
            if first is not None and text not in ("", first[0]):
                raise InputRefused(
                    f"{first[1].entry.name} and {file.entry.name} have one SeriesInstanceUID "
                    f"(0020,000E) and differ in {name}: they are of different scans; put one of "
                    "them into a folder of its own and give that"
                )


def _notes(files: Sequence[DicomFile]) -> list[str]:
    """Return pydicom's warnings, each with its number of files."""
    files_by_note: dict[str, list[str]] = {}
    for file in files:
        for note in file.notes:
            files_by_note.setdefault(note, []).append(file.entry.name)
    for note, names in files_by_note.items():
        _log.info("%s: %s", names[0], note)
    return [
        f"{note} ({counted(len(files_by_note[note]), 'file')})"
        for note in list(files_by_note)[:_MAX_NAMED]
    ]
