"""Find all PET scans below a folder: DICOM series, zips, volume files, BIDS data sets.

Each folder is searched separately, so that a damaged file affects the scans of its folder only.
Folders with results of petdiff (a run.json) and hidden folders are left out.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from petdiff.errors import InputRefused
from petdiff.io.bids_dataset import BidsScan, find_bids_scans
from petdiff.io.dicom_file import lenient_pydicom
from petdiff.io.dicom_search import SearchResult, Series, search_dicom, search_files, text_of
from petdiff.io.entries import refuse_folder
from petdiff.io.formats import DICOM, ITK, NIFTI, NPZ, stem_of, suffix_of

RECORD = "run.json"  # a folder with this file contains results
_VOLUMES = (*NIFTI, *ITK, *NPZ)
_HEADERS, _DATA = (".hdr", ".hdr.gz"), (".img", ".img.gz")
_MAX_NAME_BYTES = 150  # most file systems allow 255, and unfinished results have longer names
# Words in the names of volume files that are not PET scans.
_NO_SCAN = frozenset(
    {
        "label", "labels", "mask", "masks", "seg", "segmentation", "segmentations", "roi", "rois",
        "ct", "ctac", "mr", "mri", "t1w", "t2w", "mumap", "umap", "attenuation", "atlas",
        "uncertainty", "lower", "upper",
    }
)  # fmt: skip


@dataclass(frozen=True)
class FoundScan:
    """A PET scan that was found.

    name        path within the searched folder, as one name without suffix: p1_late
    path        for `petdiff.read`
    series      SeriesInstanceUID, if the path contains DICOM
    recursive   whether the path is searched through all its levels
    is_damaged  whether the path contains only damaged files, so that reading it fails
    patient     hash of the DICOM PatientID, the same for all scans of a patient; "": not stated
    """

    name: str
    path: Path
    series: str | None = None
    recursive: bool = True
    is_damaged: bool = False
    patient: str = ""


@dataclass
class ScanSearch:
    """The result of a search.

    scans     sorted by name
    left_out  volume files that are named like a mask, a CT or a map
    """

    scans: list[FoundScan] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    @property
    def readable(self) -> list[FoundScan]:
        """The scans that are not damaged."""
        return [scan for scan in self.scans if not scan.is_damaged]


@dataclass(frozen=True)
class _Part:
    """The files of one DICOM series in one folder; without uid, the damaged files there."""

    folder: Path
    uid: str = ""
    number: str = ""
    images: frozenset[str] = frozenset()
    patient: str = ""
    study: str = ""


def find_scans(
    folder: str | Path, *, top: Path | None = None, without: Path | None = None
) -> ScanSearch:
    """Return every PET scan below a folder.

    top      folder to which the names of the scans are relative; None: the folder itself
    without  folder that is not searched, such as that of the results

    Damaged files, and other files that are named like scans, are returned as well; reading them
    raises an error with the reason. Raises InputRefused for a folder that cannot be read.
    """
    folder = Path(folder).expanduser()
    top = folder if top is None else top
    found, parts = ScanSearch(), list[_Part]()
    with lenient_pydicom():
        for here, scans, files in _folders(folder, without):
            found.scans += [FoundScan(name_within(top, scan.path), scan.path) for scan in scans]
            volumes = [file for file in files if suffix_of(file) in _VOLUMES or _is_pair(file)]
            zips = [file for file in files if suffix_of(file) == ".zip"]
            found.left_out += [file for file in volumes if is_no_scan(file)]
            found.scans += [
                FoundScan(name_within(top, file), file) for file in volumes if not is_no_scan(file)
            ]
            found.scans += [scan for file in zips for scan in _in_zip(top, file)]
            if len(files) > len(volumes) + len(zips):
                parts += _parts(here, search_files(here))
    found.scans += _series(top, parts)
    found.scans = sorted(with_unique_names(found.scans), key=lambda scan: scan.name)
    return found


def is_no_scan(file: Path) -> bool:
    """Return whether a volume file is named like a mask, a CT or a map, not like a PET scan."""
    words = re.split(r"[^a-z0-9]+", stem_of(file).lower())
    return not _NO_SCAN.isdisjoint(words)


def with_unique_names(scans: Sequence[FoundScan]) -> list[FoundScan]:
    """Return the scans, in the same order, with unique names (ignoring case).

    A hash of the path is added to equal names and to names that are too long for a folder.
    """
    count = Counter(scan.name.casefold() for scan in scans)
    named = []
    for scan in scans:
        name = scan.name
        if count[name.casefold()] > 1 or len(os.fsencode(name)) > _MAX_NAME_BYTES:
            while len(os.fsencode(name)) > _MAX_NAME_BYTES:
                name = name[1:]
            name = f"{name}-{_short_hash(f'{scan.path.absolute()} {scan.series}')}"
        named.append(replace(scan, name=name))
    return named


def _folders(top: Path, without: Path | None) -> Iterator[tuple[Path, list[BidsScan], list[Path]]]:
    """Yield each folder with the BIDS scans below it and its files.

    Links to folders are followed, but no folder is searched twice. The subjects of a BIDS data set
    are not searched further, and neither are its derivatives and source data.
    """
    seen = {os.path.realpath(without)} if without is not None else set[str]()
    for parent, folders, names in os.walk(top, onerror=refuse_folder, followlinks=True):
        here, real = Path(parent), os.path.realpath(parent)
        if real in seen or RECORD in names:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        scans = find_bids_scans(here) if any(map(_is_of_bids, [here.name, *folders])) else []
        if scans:
            folders[:] = [name for name in folders if not _is_of_bids(name)]
            yield here, scans, []
        else:
            yield here, [], [here / n for n in sorted(names) if not n.startswith(".")]


def _is_of_bids(name: str) -> bool:
    return name.startswith(("sub-", "ses-")) or name in ("pet", "derivatives", "sourcedata", "code")


def _is_pair(file: Path) -> bool:
    """Return whether a file is the header of a .hdr/.img pair."""
    return suffix_of(file) in _HEADERS and any(
        file.with_name(stem_of(file) + suffix).is_file() for suffix in _DATA
    )


def _in_zip(top: Path, file: Path) -> list[FoundScan]:
    """Return the PET series of a zip. A damaged zip is one scan, whose reading gives the reason."""
    name = name_within(top, file)
    try:
        with search_dicom(file) as (found, _):
            series = found.volumes
            if not series:
                return [FoundScan(name, file, is_damaged=True)] if found.damaged else []
    except InputRefused:
        return [FoundScan(name, file, is_damaged=True)]
    if len(series) == 1:
        return [FoundScan(name, file, series[0].uid, patient=_patient(series[0]))]
    parts = [_Part(file, one.uid, one["SeriesNumber"]) for one in series]
    labels = _labels(parts)
    return [
        FoundScan(f"{name}_{labels[one.uid]}", file, one.uid, patient=_patient(one))
        for one in series
    ]


def _parts(folder: Path, found: SearchResult) -> list[_Part]:
    """Return the PET series with files in a folder, without projections, and its damaged series."""
    parts = [
        _Part(
            folder,
            one.uid,
            one["SeriesNumber"],
            _images(one),
            _patient(one),
            one["StudyInstanceUID"],
        )
        for one in found.volumes
    ]
    damaged = {one.series_uid for one in found.damaged if one.series_uid} - set(found.series)
    parts += [_Part(folder, uid) for uid in sorted(damaged)]
    if not found.series and not damaged and (found.damaged or _looks_like_dicom(found)):
        parts.append(_Part(folder))
    return parts


def _images(series: Series) -> frozenset[str]:
    return frozenset(text_of(file.dataset, "SOPInstanceUID") for file in series.files)


def _patient(series: Series) -> str:
    """Return a hash of the PatientID; "" if it is not stated."""
    known = series["PatientID"]
    return _short_hash(known) if known else ""


def _looks_like_dicom(found: SearchResult) -> bool:
    return any(PurePath(entry.name).suffix.lower() in DICOM for entry in found.others)


def _series(top: Path, parts: Sequence[_Part]) -> list[FoundScan]:
    """Combine parts to scans.

    Parts of one series in several folders are one scan if they have different images and are of
    one patient and study. Otherwise each is a scan: they are copies, or scans with wrongly equal
    UIDs.
    """
    by_uid: dict[tuple[str, str, str], list[_Part]] = {}
    by_folder: dict[Path, list[_Part]] = {}
    for part in parts:
        key = (part.uid or str(part.folder), part.patient, part.study)
        by_uid.setdefault(key, []).append(part)
        by_folder.setdefault(part.folder, []).append(part)
    scans = []
    for group in by_uid.values():
        count = sum(len(part.images) for part in group)
        if len(group) > 1 and len(frozenset().union(*(part.images for part in group))) == count:
            common = Path(os.path.commonpath([part.folder for part in group]))
            label = group[0].number or _short_hash(group[0].uid)
            name = f"{name_within(top, common)}_series-{label}"
            scans.append(FoundScan(name, common, group[0].uid, patient=group[0].patient))
            continue
        for part in group:
            in_folder = by_folder[part.folder]
            label = f"_{_labels(in_folder)[part.uid]}" if len(in_folder) > 1 else ""
            name = name_within(top, part.folder) + label
            damaged = not part.images
            uid = part.uid or None
            scans.append(FoundScan(name, part.folder, uid, False, damaged, part.patient))
    return scans


def _labels(parts: Sequence[_Part]) -> dict[str, str]:
    """Return a label for each series of a folder or zip: its number, or a hash of its UID.

    Series descriptions are not used, because they may contain a name.
    """
    count = Counter(part.number for part in parts)
    return {
        part.uid: f"series-{part.number}"
        if part.number.isdigit() and count[part.number] == 1
        else f"series-{_short_hash(part.uid)}"
        for part in parts
    }


def name_within(top: Path, path: Path) -> str:
    """Return a path relative to `top` as one name; for `top` itself its own name."""
    inside = Path(os.path.relpath(path, top))
    if inside == PurePath():
        return path.resolve().name or "scan"
    stem = stem_of(path) if path.is_file() else path.name
    return "_".join([*inside.parts[:-1], stem])


def _short_hash(text: str) -> str:
    return hashlib.blake2b(os.fsencode(text), digest_size=4).hexdigest()
