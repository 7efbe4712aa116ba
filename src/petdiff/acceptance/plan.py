"""The plan of an acceptance test: scans, doses, model, and the filter for comparison."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.inputs import names_file
from petdiff.io import Units
from petdiff.io.dicom_file import read_file
from petdiff.io.entries import file_entry
from petdiff.io.formats import ITK, NIFTI, NPZ, existing, suffix_of

DOSES = (4.0, 20.0)
_FULL, _LABELS = "full.nii.gz", "labels.nii.gz"


@dataclass(frozen=True)
class Plan:
    """An acceptance test.

    scans    a folder with a scan in each entry: folders of DICOM, archives, volume files, or
             patients as `petdiff simulate` writes them
    doses    dose reduction factors
    model    a shipped model's name or a file
    filter_fwhm_mm  FWHM of the Gaussian filter for comparison; None: the best one for each scan
    phantom  a scan of the NEMA image quality phantom
    """

    scans: Path
    doses: tuple[float, ...] = DOSES
    model: str = "flow3d"
    filter_fwhm_mm: float | None = None
    phantom: Path | None = None
    seed: int = 0
    device: str = "auto"
    units: Units | None = None
    suv_factor: float | None = None

    def __post_init__(self) -> None:
        if not self.doses or min(self.doses) <= 1:
            raise UsageError("`doses`: give fractions of the full dose below 1, as 1/4")
        if len(set(self.doses)) < len(self.doses):
            raise UsageError("`doses`: one fraction is given twice")
        if self.filter_fwhm_mm is not None and not 0 < self.filter_fwhm_mm <= 20:
            raise UsageError(
                f"`filter_fwhm_mm` {self.filter_fwhm_mm:g}: give a width above 0, up to 20 mm"
            )


@dataclass(frozen=True)
class ScanFiles:
    """The files of a scan.

    number  from 1, in the order of the files' names
    labels  a label volume on its grid, with a .json of names
    """

    number: int
    scan: Path
    labels: Path | None = None

    @property
    def name(self) -> str:
        """The name of the scan in reports, which is no file name."""
        return f"scan {self.number:03d}"

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The label volume and its names; empty without labels."""
        if self.labels is None:
            return ()
        names = names_file(self.labels)
        return (self.labels, names) if names.is_file() else (self.labels,)


def find_scans(folder: Path) -> list[ScanFiles]:
    """Return the scans of a folder, one per entry.

    Raises InputRefused if there are none, and for a folder that is itself the scan of a patient.
    """
    folder = existing(folder)
    if not folder.is_dir():
        raise InputRefused(f"{folder} is a file: give a folder with one scan per patient")
    entries = sorted(entry for entry in folder.iterdir() if _may_be_scan(entry))
    if not entries:
        raise InputRefused(f"{folder} has no scans: give a folder with one entry per patient")
    if (folder / _FULL).is_file() or _are_slices(entries):
        raise InputRefused(f"{folder} is the folder of one patient: give the folder that holds it")
    return [_scan_files(number, entry) for number, entry in enumerate(entries, start=1)]


def identity(plan: Plan, files: list[ScanFiles], weights_sha256: str) -> Mapping[str, object]:
    """Return what the figures depend on, as JSON without names of patients and folders."""
    digest = hashlib.sha256()
    for one in files:
        for path in (one.scan, *one.label_files):
            size = sum(file.stat().st_size for file in _files_of(path))
            digest.update(f"{path.resolve()}\0{size}\0".encode(errors="surrogateescape"))
    return {
        "scans": len(files),
        "files_sha256": digest.hexdigest(),
        "doses": list(plan.doses),
        "weights_sha256": weights_sha256,
        "filter_fwhm_mm": plan.filter_fwhm_mm,
        "seed": plan.seed,
        "units": plan.units,
        "suv_factor": plan.suv_factor,
    }


def _may_be_scan(entry: Path) -> bool:
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return True
    return suffix_of(entry) in (*NIFTI, *ITK, *NPZ, ".zip", ".dcm")


def _are_slices(entries: Sequence[Path]) -> bool:
    """Return whether the first two DICOM files are of one series."""
    uids = []
    for path in [entry for entry in entries if suffix_of(entry) == ".dcm"][:2]:
        with contextlib.suppress(InputRefused):
            file = read_file(file_entry(path, path.name), pixels=False)
            uids.append(file and file.dataset.get("SeriesInstanceUID"))
    return len(uids) == 2 and uids[0] is not None and uids[0] == uids[1]


def _scan_files(number: int, entry: Path) -> ScanFiles:
    """Return the scan of an entry, and its labels if it is a patient of `petdiff simulate`."""
    if (entry / _FULL).is_file():
        labels = entry / _LABELS
        return ScanFiles(number, entry / _FULL, labels if labels.is_file() else None)
    return ScanFiles(number, entry)


def _files_of(scan: Path) -> list[Path]:
    if not scan.is_dir():
        return [scan]
    return [file for file in sorted(scan.rglob("*")) if file.is_file()]
