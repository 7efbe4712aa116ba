"""Every PET scan below a folder: DICOM series in any nesting, zips, volume files, BIDS data sets.

Each folder is searched by itself, so that a damaged file concerns the scans of its own folder only.
Folders that petdiff has written (they hold a run.json) and hidden ones are left out.
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
from petdiff.io.dicom_search import Found, Series, files_found, searched, text_of
from petdiff.io.entries import refuse_folder
from petdiff.io.formats import ITK, NIFTI, NPZ, stem_of, suffix_of

RECORD = "run.json"  # what marks a folder of results
_VOLUMES = (*NIFTI, *ITK, *NPZ)
_HEADERS, _DATA = (".hdr", ".hdr.gz"), (".img", ".img.gz")
_LONGEST_NAME = 150  # bytes; most file systems allow 255, and unfinished results need some more
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom", ".dic")
# Words in the name of a volume file that is no PET scan, though it may lie beside one.
_NO_SCAN = frozenset(
    {
        "label", "labels", "mask", "masks", "seg", "segmentation", "segmentations", "roi", "rois",
        "ct", "ctac", "mr", "mri", "t1w", "t2w", "mumap", "umap", "attenuation", "atlas",
        "uncertainty", "lower", "upper",
    }
)  # fmt: skip


@dataclass(frozen=True)
class FoundScan:
    """A PET scan that a search came upon.

    name        its path within the folder that was searched, as one name without suffix: p1_late
    path        what `petdiff.read` takes
    series      SeriesInstanceUID, where the path holds DICOM
    recursive   whether the path is searched through all its levels
    is_damaged  whether there is nothing at the path but damaged files, so that reading it fails
    patient     the same for scans of one DICOM PatientID, which it does not reveal; "": not stated
    """

    name: str
    path: Path
    series: str | None = None
    recursive: bool = True
    is_damaged: bool = False
    patient: str = ""


@dataclass
class ScanSearch:
    """What a search came upon.

    scans     in the order of their names
    left_out  volume files that are named like a mask, a CT or a map, and are no scans
    """

    scans: list[FoundScan] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    @property
    def readable(self) -> list[FoundScan]:
        """The scans, without what is damaged or only named like DICOM."""
        return [scan for scan in self.scans if not scan.is_damaged]


@dataclass(frozen=True)
class _Part:
    """The files of one DICOM series in one folder; without uid, what is damaged there."""

    folder: Path
    uid: str = ""
    number: str = ""
    images: frozenset[str] = frozenset()
    patient: str = ""


def find_scans(
    folder: str | Path, *, top: Path | None = None, without: Path | None = None
) -> ScanSearch:
    """Return every PET scan below a folder.

    top      folder from which the names of the scans are counted; None: the folder itself
    without  a folder that is not searched, such as that of the results

    Files that are damaged, or named like scans and are none, are found as well, so that reading
    them says what is wrong. Raises InputRefused for a folder that cannot be read.
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
                parts += _parts(here, files_found(here))
    found.scans += _series(top, parts)
    found.scans = sorted(with_own_names(found.scans), key=lambda scan: scan.name)
    return found


def is_no_scan(file: Path) -> bool:
    """Return whether a volume file is named like a mask, a CT or a map, not like a PET scan."""
    words = re.split(r"[^a-z0-9]+", stem_of(file).lower())
    return not _NO_SCAN.isdisjoint(words)


def with_own_names(scans: Sequence[FoundScan]) -> list[FoundScan]:
    """Return the scans, in their order, with names of which no two are equal, whatever the case.

    Equal ones, and those that are too long for a folder, get a part that follows from the path.
    """
    count = Counter(scan.name.casefold() for scan in scans)
    named = []
    for scan in scans:
        name = scan.name
        if count[name.casefold()] > 1 or len(os.fsencode(name)) > _LONGEST_NAME:
            while len(os.fsencode(name)) > _LONGEST_NAME:
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
    """Return the PET series of a zip; a damaged one stands for itself, so that reading says why."""
    name = name_within(top, file)
    try:
        with searched(file) as (found, _):
            series = found.pet
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


def _parts(folder: Path, found: Found) -> list[_Part]:
    """Return the PET series of which files lie in a folder, and what is damaged there."""
    parts = [
        _Part(folder, one.uid, one["SeriesNumber"], _images(one), _patient(one))
        for one in found.pet
    ]
    lost = {one.series_uid for one in found.damaged if one.series_uid} - set(found.series)
    parts += [_Part(folder, uid) for uid in sorted(lost)]
    if not found.series and not lost and (found.damaged or _looks_like_dicom(found)):
        parts.append(_Part(folder))
    return parts


def _images(series: Series) -> frozenset[str]:
    return frozenset(text_of(file.dataset, "SOPInstanceUID") for file in series.files)


def _patient(series: Series) -> str:
    """Return what tells patients apart without naming them; "" where no PatientID is stated."""
    known = series["PatientID"]
    return _short_hash(known) if known else ""


def _looks_like_dicom(found: Found) -> bool:
    return any(PurePath(entry.name).suffix.lower() in _DICOM_SUFFIXES for entry in found.others)


def _series(top: Path, parts: Sequence[_Part]) -> list[FoundScan]:
    """Return the scans of which these are the parts.

    Parts of one series in several folders are one scan where they hold different images. Where
    they hold the same, they are copies, or scans whose UIDs are wrongly equal: each is a scan.
    """
    by_uid: dict[str, list[_Part]] = {}
    by_folder: dict[Path, list[_Part]] = {}
    for part in parts:
        by_uid.setdefault(part.uid or str(part.folder), []).append(part)
        by_folder.setdefault(part.folder, []).append(part)
    scans = []
    for group in by_uid.values():
        together = sum(len(part.images) for part in group)
        if len(group) > 1 and len(frozenset().union(*(part.images for part in group))) == together:
            common = Path(os.path.commonpath([part.folder for part in group]))
            label = group[0].number or _short_hash(group[0].uid)
            name = f"{name_within(top, common)}_series-{label}"
            scans.append(FoundScan(name, common, group[0].uid, patient=group[0].patient))
            continue
        for part in group:
            beside = by_folder[part.folder]
            label = f"_{_labels(beside)[part.uid]}" if len(beside) > 1 else ""
            name = name_within(top, part.folder) + label
            damaged = not part.images
            uid = part.uid or None
            scans.append(FoundScan(name, part.folder, uid, False, damaged, part.patient))
    return scans


def _labels(beside: Sequence[_Part]) -> dict[str, str]:
    """Return a label of each series of a folder or zip: its number, or what follows from its UID.

    Series descriptions are not used: they may hold anything.
    """
    count = Counter(part.number for part in beside)
    return {
        part.uid: f"series-{part.number}"
        if part.number.isdigit() and count[part.number] == 1
        else f"series-{_short_hash(part.uid)}"
        for part in beside
    }


def name_within(top: Path, path: Path) -> str:
    """Return a path within `top` as one name; that of `top` itself is its own."""
    inside = Path(os.path.relpath(path, top))
    if inside == PurePath():
        return path.resolve().name or "scan"
    stem = stem_of(path) if path.is_file() else path.name
    return "_".join([*inside.parts[:-1], stem])


def _short_hash(text: str) -> str:
    return hashlib.blake2b(os.fsencode(text), digest_size=4).hexdigest()
