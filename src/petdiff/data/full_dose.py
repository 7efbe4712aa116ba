"""Find the user's own full-dose scans and their patients, where there are no low-dose scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from petdiff.data.layouts import dose_in_name, dose_text
from petdiff.data.patients import patients_of
from petdiff.image import PETImage
from petdiff.io import Units
from petdiff.io.formats import stem_of
from petdiff.io.read_options import ReadOptions
from petdiff.io.scan_search import FoundScan, find_scans
from petdiff.units import counted


@dataclass(frozen=True)
class FullDoseScan(ReadOptions):
    """A full-dose scan without low-dose scans of the same patient, and how to read it.

    name     of the scan, unique in a data set
    patient  of the scan; all scans of a patient are for training, or all for validation
    """

    name: str
    patient: str
    path: Path

    def read(self) -> PETImage:
        """Read the scan. Raises InputRefused as `petdiff.read` does, and for several frames."""
        return self.read_static(self.path)


def find_full_dose(
    folder: Path,
    *,
    notify: Callable[[str], object],
    units: Units | None = None,
    suv_factor: float | None = None,
) -> list[FullDoseScan]:
    """Return all PET scans below a folder, in the order of their names.

    notify  called with the number of scans and of patients, and with each scan that is left out
            because its name states a low dose

    Patients are told apart by PatientID and by the entries of the folder (`patients_of`). Other
    files in a folder with a `full` scan are no scans, as in the output of `petdiff simulate`.
    """
    stated_doses = {scan: _dose(folder, scan) for scan in find_scans(folder).scans}
    for scan, dose in stated_doses.items():
        if dose is not None and dose > 1:
            notify(f"{scan.name}: left out, its name states {dose_text(dose)}")
    folders_with_full = {scan.path.parent for scan, dose in stated_doses.items() if dose == 1}
    chosen = [
        scan
        for scan, dose in stated_doses.items()
        if dose == 1 or (dose is None and scan.path.parent not in folders_with_full)
    ]
    if not chosen:
        return []
    entries = [_entry(folder, scan) for scan in chosen]
    patients = patients_of(entries, [scan.patient for scan in chosen])
    notify(
        f"{folder}: {counted(len(chosen), 'full-dose scan')} of "
        f"{counted(len(set(patients)), 'patient')}, which will be thinned"
    )
    return [
        FullDoseScan(
            scan.name,
            patient,
            scan.path,
            series=scan.series,
            units=units,
            suv_factor=suv_factor,
            recursive=scan.recursive,
        )
        for scan, patient in zip(chosen, patients, strict=True)
    ]


def _dose(folder: Path, scan: FoundScan) -> float | None:
    """Return the dose reduction factor in the name of a scan or of a folder above it, or None."""
    parts = [*scan.path.relative_to(folder).parent.parts, stem_of(scan.path)]
    doses = [found[1] for part in parts if (found := dose_in_name(part))]
    return doses[-1] if doses else None


def _entry(folder: Path, scan: FoundScan) -> str:
    inside = scan.path.relative_to(folder).parts
    return inside[0] if inside else scan.name
