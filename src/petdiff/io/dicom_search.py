"""Search a path for DICOM series, damaged files and files that are not DICOM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from petdiff.errors import InputRefused
from petdiff.io.archives import is_zip, zip_entries
from petdiff.io.dicom_enhanced import PET_CLASSES
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_file import DamagedFile, DicomFile, read_file
from petdiff.io.entries import Entry, file_entry, folder_entries
from petdiff.suv.header import text_values
from petdiff.terminal import one_line

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
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
    """The files of one DICOM series with their headers without pixels.

    warnings  what was left out, or read although it is unusual
    """

    uid: str
    files: list[DicomFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, keyword: str) -> str:
        """Return an attribute that is the same in all files, as text; empty if it is absent."""
        return text_of(self.files[0].dataset, keyword)

    @property
    def is_pet(self) -> bool:
        """Whether any of its files is a PET image."""
        return any(is_pet(file) for file in self.files)

    @property
    def is_projection(self) -> bool:
        """Whether its images are projections of a volume, as those of a turning MIP are."""
        return "REPROJECTION" in self["SeriesType"].upper()

    def __str__(self) -> str:
        corrected = (
            "ATTN" in text_values(self.files[0].dataset.get("CorrectedImage"))
            or self["AttenuationCorrected"] == "YES"
        )
        slices = sum(int(number_or_none(f.dataset, "NumberOfFrames") or 1) for f in self.files)
        return (
            f"{self.uid} (number {self['SeriesNumber'] or 'none'}, "
            f"{self['SeriesDescription'] or 'no description'!r}, {slices} slices"
            f"{'' if corrected else ', not attenuation corrected'})"
        )


@dataclass
class SearchResult:
    """The series, the damaged files and the files that are not DICOM."""

    series: dict[str, Series] = field(default_factory=dict)
    damaged: list[DamagedFile] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)

    @property
    def pet(self) -> list[Series]:
        """The series with PET images."""
        return [series for series in self.series.values() if series.is_pet]

    @property
    def volumes(self) -> list[Series]:
        """The series with PET images that are slices, not projections."""
        return [series for series in self.pet if not series.is_projection]


@contextmanager
def search_dicom(
    path: Path, *, recursive: bool = True
) -> Iterator[tuple[SearchResult, str | None]]:
    """Yield the search result of a path and, if it is one DICOM file, the UID of its series.

    recursive  search the subfolders of a folder and its zips, too
    """
    if path.is_dir():
        with _folder(path) if recursive else nullcontext(search_files(path)) as found:
            yield found, None
        return
    if not path.is_file():
        raise InputRefused(f"{one_line(path.name)} is neither a file nor a folder")
    file = file_entry(path, path.name)
    dicom = _read(file)
    if dicom is not None and _is_directory(dicom):
        with _folder(path.parent) as found:  # a DICOMDIR stands for all files below it
            yield found, None
    elif dicom is not None:
        # A single file stands for its series.
        yield search_files(path.parent), text_of(dicom.dataset, "SeriesInstanceUID")
    elif is_zip(file):
        with zip_entries(file) as entries:
            yield _scan(entries), None
    else:
        raise InputRefused(_no_scan(file))


def patient_id(path: Path) -> str:
    """Return the PatientID in the first DICOM file of a folder; "" if none is stated.

    It is also "" for a path that is no folder, and for a folder without DICOM.
    """
    if not path.is_dir():
        return ""
    for entry in folder_entries(path):
        try:
            file = _read(entry)
        except DamagedFile:
            continue
        if file is not None and not _is_directory(file):
            return text_of(file.dataset, "PatientID")
    return ""


def search_files(folder: Path) -> SearchResult:
    """Return the search result of the files of a folder, without its subfolders."""
    return _scan(folder_entries(folder, recursive=False))


@contextmanager
def _folder(path: Path) -> Iterator[SearchResult]:
    """Yield the search result of a folder or, if it has no PET, of the zips in it."""
    found = _scan(folder_entries(path))
    zips = [entry for entry in found.others if entry.name.lower().endswith(".zip")]
    if found.pet or found.damaged or not zips:
        yield found
        return
    with ExitStack() as stack:  # downloads that are not unpacked
        within = [stack.enter_context(zip_entries(zip, f"{zip.name}/")) for zip in zips]
        yield _scan([entry for entries in within for entry in entries])


def _no_scan(file: Entry) -> str:
    with file.open() as stream:
        head = stream.read(265)
    for offset, magic, kind in _OTHER_ARCHIVES:
        if head[offset:].startswith(magic):
            return f"{file.name} is packed as {kind}: unpack it and give the folder"
    return (
        f"{file.name} is no file that petdiff reads: give DICOM, a zip of it, NIfTI, NRRD, "
        "MetaImage or .npz"
    )


def _scan(entries: Sequence[Entry]) -> SearchResult:
    found = SearchResult()
    for entry in entries:
        try:
            file = _read(entry)
        except DamagedFile as problem:
            found.damaged.append(problem)
            continue
        if file is None:
            found.others.append(entry)
        elif not _is_directory(file):
            uid = text_of(file.dataset, "SeriesInstanceUID")
            found.series.setdefault(uid, Series(uid)).files.append(file)
    return found


def _read(entry: Entry) -> DicomFile | None:
    """Read the header of a DICOM file; None for another file. PET files must have their UIDs."""
    try:
        file = read_file(entry, pixels=False)
    except DamagedFile:
        raise
    except InputRefused as problem:  # no permission, or damaged within its zip
        raise DamagedFile(str(problem)) from problem
    if file is None or _is_directory(file):
        return file
    if text_of(file.dataset, "SOPClassUID") not in ("", *PET_CLASSES):
        return file
    lacking = [keyword for keyword in _IDENTITY if not text_of(file.dataset, keyword)]
    if lacking:
        raise DamagedFile(
            f"{entry.name} is DICOM and lacks {', '.join(lacking)}: truncated? Remove it, or get "
            "it again",
            text_of(file.dataset, "SeriesInstanceUID"),
        )
    return file


def is_pet(file: DicomFile) -> bool:
    """Return whether a file is a PET image, by its SOP class."""
    return text_of(file.dataset, "SOPClassUID") in PET_CLASSES


def _is_directory(file: DicomFile) -> bool:
    return MediaStorageDirectoryStorage in (
        text_of(file.dataset.file_meta, "MediaStorageSOPClassUID"),
        text_of(file.dataset, "SOPClassUID"),
    )


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return an attribute as text that is safe to show; empty if it is absent or damaged."""
    try:
        return one_line(str(dataset.get(keyword) or "").strip())
    except Exception:  # pydicom raises many kinds on damaged values
        return ""
