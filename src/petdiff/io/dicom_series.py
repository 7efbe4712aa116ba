"""Finding the PET series among the files of a folder, a zip, or beside one DICOM file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from pydicom import Dataset
from pydicom.uid import UID, MediaStorageDirectoryStorage

from petdiff.errors import InputRefused, SeveralSeriesRefused
from petdiff.io.archives import is_zip, zip_entries
from petdiff.io.dicom_copies import without_copies
from petdiff.io.dicom_enhanced import PET_CLASSES
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_file import DamagedFile, DicomFile, decode_all, lenient_pydicom, read_file
from petdiff.io.entries import Entry, file_entry, folder_entries
from petdiff.suv.header import values_of
from petdiff.terminal import one_line

# One UID that must be there, several of which one is to be there, or none.
SeriesUID = str | Sequence[str] | None

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom", ".dic")
_MOST_NAMED = 5
_MOST_LISTED = 20
_OTHER_ARCHIVES = (
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!", "RAR"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard"),
    (257, b"ustar", "tar"),
)


@dataclass
class Series:
    """The files of one DICOM series with their headers, which hold all but the pixels.

    warnings say what was left out, or read although it is odd.
    """

    uid: str
    files: list[DicomFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, keyword: str) -> str:
        """Return an attribute that is the same in all files, as text; empty where it is absent."""
        return _text(self.files[0].dataset, keyword)

    @property
    def is_pet(self) -> bool:
        """Whether any of its files is a PET image."""
        return any(_is_pet(file) for file in self.files)

    def __str__(self) -> str:
        corrected = (
            "ATTN" in values_of(self.files[0].dataset.get("CorrectedImage"))
            or self["AttenuationCorrected"] == "YES"
        )
        slices = sum(int(number_or_none(f.dataset, "NumberOfFrames") or 1) for f in self.files)
        return (
            f"{self.uid} (number {self['SeriesNumber'] or 'none'}, "
            f"{self['SeriesDescription'] or 'no description'!r}, {slices} slices"
            f"{'' if corrected else ', not attenuation corrected'})"
        )


@dataclass
class _Found:
    """What a search came upon: series, files that are damaged, and files that are no DICOM."""

    series: dict[str, Series] = field(default_factory=dict)
    damaged: list[tuple[Entry, DamagedFile]] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)

    @property
    def pet(self) -> list[Series]:
        return [series for series in self.series.values() if series.is_pet]


@contextmanager
def pet_series(path: Path, uid: SeriesUID) -> Iterator[Series]:
    """Yield the one PET series at `path`; its files can be opened within the block.

    Raises InputRefused where there is none, or more than one and no uid to choose by; where a file
    of the series is damaged, or one that looks like a slice of it is no DICOM.
    """
    with lenient_pydicom(), _searched(path) as (found, own_uid):
        series = _choose(path, found, uid or own_uid)
        _require_whole(series, found, alone=own_uid is not None)
        _keep_pet(series)
        for file in series.files:
            decode_all(file)
        series.files, copies = without_copies(series.files)
        series.warnings += copies
        series.warnings += _notes(series.files)
        yield series


@contextmanager
def _searched(path: Path) -> Iterator[tuple[_Found, str | None]]:
    """Yield what lies at a path, and the series of the file where it is one DICOM file."""
    if path.is_dir():
        with _folder(path) as found:
            yield found, None
        return
    if not path.is_file():
        raise InputRefused(f"{one_line(path.name)} is neither a file nor a folder")
    file = file_entry(path, path.name)
    own = _read(file)
    if own is not None and _is_directory(own):
        with _folder(path.parent) as found:  # a DICOMDIR stands for all that lies below it
            yield found, None
    elif own is not None:
        # A single file stands for the series that it belongs to.
        beside = _scan(folder_entries(path.parent, recursive=False))
        yield beside, _text(own.dataset, "SeriesInstanceUID")
    elif is_zip(file):
        with zip_entries(file) as entries:
            yield _scan(entries), None
    else:
        raise InputRefused(_no_scan(file))


@contextmanager
def _folder(path: Path) -> Iterator[_Found]:
    """Yield what lies in a folder; where that is no PET, what lies in the zips in it."""
    found = _scan(folder_entries(path))
    zips = [entry for entry in found.others if entry.name.lower().endswith(".zip")]
    if found.pet or found.damaged or not zips:
        yield found
        return
    with ExitStack() as stack:  # downloads that were not unpacked
        within = [stack.enter_context(zip_entries(zip, f"{zip.name}/")) for zip in zips]
        yield _scan([entry for entries in within for entry in entries])


def _no_scan(file: Entry) -> str:
    with file.open() as stream:
        head = stream.read(265)
    for offset, magic, kind in _OTHER_ARCHIVES:
        if head[offset:].startswith(magic):
            return f"{file.name} is packed as {kind}: unpack it and give the folder"
    return f"{file.name} is no DICOM, zip, .nii, .nii.gz or .npz file"


def _scan(entries: Sequence[Entry]) -> _Found:
    found = _Found()
    for entry in entries:
        try:
            file = _read(entry)
        except DamagedFile as problem:
            found.damaged.append((entry, problem))
            continue
        if file is None:
            found.others.append(entry)
        elif not _is_directory(file):
            uid = _text(file.dataset, "SeriesInstanceUID")
            found.series.setdefault(uid, Series(uid)).files.append(file)
    return found


def _read(entry: Entry) -> DicomFile | None:
    """Read the header of a DICOM file that has an identity; None for another file."""
    try:
        file = read_file(entry, pixels=False)
    except DamagedFile:
        raise
    except InputRefused as problem:  # not allowed, or damaged within its zip
        raise DamagedFile(str(problem)) from problem
    if file is None or _is_directory(file):
        return file
    if _text(file.dataset, "SOPClassUID") not in ("", *PET_CLASSES):
        return file
    lacking = [keyword for keyword in _IDENTITY if not _text(file.dataset, keyword)]
    if lacking:
        raise DamagedFile(
            f"{entry.name} is DICOM and lacks {', '.join(lacking)}: truncated? Remove it, or get "
            "it again",
            _text(file.dataset, "SeriesInstanceUID"),
        )
    return file


def _choose(path: Path, found: _Found, uid: SeriesUID) -> Series:
    name = one_line(path.resolve().name or path)
    chosen = list(found.series.values())
    wanted = [uid] if isinstance(uid, str) else list(uid or ())
    asked = [series for series in chosen if series.uid in wanted]
    if isinstance(uid, str) and not asked:
        raise InputRefused(
            f"{name} holds no series {one_line(uid)}, but {_listing(found.pet) or 'no PET'}"
        )
    chosen = asked or chosen
    pet = [series for series in chosen if series.is_pet]
    if len(pet) == 1:
        return pet[0]
    if len(pet) > 1:
        raise SeveralSeriesRefused(f"{name} holds {len(pet)} PET series", _listing(pet))
    if found.damaged:
        raise found.damaged[0][1]
    if chosen:
        each = [f"{s['Modality'] or 'no modality'}: {s}" for s in chosen]
        raise InputRefused(
            f"{name} holds no series of PET images (SOP class {PET_CLASSES[0]} or "
            f"{PET_CLASSES[1]}), only {_some(each, _MOST_LISTED, '; ')}"
        )
    raise InputRefused(f"{name} holds no DICOM file{_what_else(found.others)}")


def _listing(series: Sequence[Series]) -> str:
    return _some([str(s) for s in series], _MOST_LISTED, "; ")


def _what_else(others: Sequence[Entry]) -> str:
    return ", only " + _some([entry.name for entry in others], _MOST_NAMED) if others else ""


def _some(names: Sequence[str], most: int, between: str = ", ") -> str:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return between.join([*names[:most], *more])


def _require_whole(series: Series, found: _Found, *, alone: bool) -> None:
    """Refuse a series that a damaged file may belong to, so that none is shortened in silence.

    Beside a file that was given alone, files of other scans may well be damaged: of those that do
    not tell their series, a warning is enough.
    """
    for entry, problem in found.damaged:
        if problem.series_uid == series.uid or not (problem.series_uid or alone):
            raise problem
        if not problem.series_uid:
            series.warnings.append(f"{entry.name} lies beside the scan and is not read: {problem}")
    for file in series.files:
        if _is_pet(file) and not file.has_pixels:
            raise DamagedFile(
                f"{file.entry.name} has no PixelData (7FE0,0010): truncated? Remove it, or get it "
                "again"
            )
    for entry in _alike(series, found.others):
        line = (
            f"{entry.name} is named like a slice of the series and is no DICOM ({entry.size} "
            "bytes): damaged? Get it again, or remove it if it is none"
        )
        if not alone:
            raise DamagedFile(line)
        series.warnings.append(line)
    series.warnings[_MOST_NAMED:] = []


def _alike(series: Series, others: Sequence[Entry]) -> list[Entry]:
    """Return the files that are no DICOM and yet are named like slices of a series beside them."""
    shapes = {(file.entry.folder, _shape(file.entry.name)) for file in series.files}
    suffixes = {(folder, PurePath(shape).suffix) for folder, shape in shapes}
    found = []
    for entry in others:
        shape = _shape(entry.name)
        suffix = PurePath(shape).suffix
        is_dicom_suffix = suffix in _DICOM_SUFFIXES and (entry.folder, suffix) in suffixes
        if is_dicom_suffix or (entry.folder, shape) in shapes:
            found.append(entry)
    return found


def _shape(name: str) -> str:
    """Return a file's name with its numbers made equal: that of IM0012.dcm is im0.dcm."""
    return re.sub(r"[0-9a-f]{8,}|[0-9]+", "0", PurePath(name).name.lower())


def _keep_pet(series: Series) -> None:
    """Leave out what lies in a PET series and is no PET image, with a warning."""
    others = [file for file in series.files if not _is_pet(file)]
    if others:
        kinds = sorted({UID(_text(file.dataset, "SOPClassUID")).name for file in others})
        series.warnings.append(
            f"{len(others)} files of the series are no PET images and are left out: "
            f"{others[0].entry.name} ({one_line(', '.join(kinds))})"
        )
    series.files = [file for file in series.files if _is_pet(file)]
    if series["Modality"] != "PT":
        raise InputRefused(
            f"{series.files[0].entry.name}: Modality (0008,0060) is {series['Modality']!r}, not PT"
        )


def _notes(files: Sequence[DicomFile]) -> list[str]:
    """Return pydicom's warnings, each with the first file that it is about."""
    first: dict[str, str] = {}
    for file in files:
        for note in file.notes:
            first.setdefault(note, file.entry.name)
    return [f"{name}: {note}" for note, name in list(first.items())[:_MOST_NAMED]]


def _is_pet(file: DicomFile) -> bool:
    return _text(file.dataset, "SOPClassUID") in PET_CLASSES


def _is_directory(file: DicomFile) -> bool:
    return MediaStorageDirectoryStorage in (
        _text(file.dataset.file_meta, "MediaStorageSOPClassUID"),
        _text(file.dataset, "SOPClassUID"),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute as text that is safe to show; empty where it is absent or damaged."""
    try:
        return one_line(str(dataset.get(keyword) or "").strip())
    except Exception:  # pydicom raises a dozen kinds on damaged values
        return ""
