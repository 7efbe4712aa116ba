"""The content of scan.json, from which the images of a simulated scan can be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from petdiff.errors import InputRefused
from petdiff.io.json_files import read_json
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.labels.label_file import LabelSource
from petdiff.simulation.patient.draw import EXTENTS
from petdiff.simulation.patient.tracers import TRACERS, UPTAKE_OF
from petdiff.simulation.scanner.scanners import Scanner

DOSE_FACTORS = (1.0, 1e6)
VOXEL_MM = (0.5, 50.0)
_REMEDY = "give a scan.json as petdiff simulate wrote it"
# Accepted ranges of the patient's and the scanner's numbers.
_PATIENT_RANGE = {
    "weight_kg": (1, 500),
    "height_mm": (300, 2500),
    "injected_mbq": (1e-3, 1e5),
    "uptake_min": (0, 1e4),
    "activity_scale": (1e-3, 1e3),
}
_SCANNER_RANGE = {
    "axial_field_mm": (10, 1e4),
    "ring_radius_mm": (20, 1e4),
    "max_ring_difference_mm": (1, 1e4),
    "nema_cps_per_bq": (1e-6, 1),
    "tof_ps": (1, 1e5),
    "fwhm_mm": (0.1, 50),
    "axial_fwhm_mm": (0.1, 50),
    "scatter_fraction": (0, 0.95),
    "randoms_fraction": (0, 0.95),
    "iterations": (1, 1000),
    "subsets": (1, 1000),
    "filter_fwhm_mm": (0, 100),
    "bed_seconds": (1, 1e6),
    "overlap": (0, 0.95),
}


class ScanRecord(BaseModel):
    """The description of a simulated scan.

    seed          seed of the noise; the patient has its own seed
    patient       anatomy, uptake, lesions, injection
    scanner       geometry and protocol in full, so that later changes of the scanner table have no
                  effect
    dose_factors  dose reduction factors of the low-dose scans
    voxel_mm      voxel size of all images; None: the scanner's
    labels        the label map that defines the anatomy; None: the patient is drawn
    """

    model_config = ConfigDict(frozen=True)

    seed: int = Field(ge=0)
    patient: Patient
    scanner: Scanner
    dose_factors: tuple[float, ...]
    voxel_mm: float | None
    labels: LabelSource | None

    @model_validator(mode="after")
    def _check_values(self) -> ScanRecord:
        _check_ranges("patient", self.patient, _PATIENT_RANGE)
        _check_ranges("scanner", self.scanner, _SCANNER_RANGE)
        for name, allowed in (("tracer", TRACERS), ("extent", EXTENTS)):
            if getattr(self.patient, name) not in allowed:
                raise ValueError(f"patient.{name} is not one of {', '.join(allowed)}")
        tissues = {*TRACERS[self.patient.tracer].uptake, *UPTAKE_OF}
        for tissue in sorted(tissues):
            if not 0 <= self.patient.uptake.get(tissue, -1) < 1e4:
                raise ValueError(f"patient.uptake.{tissue} is not an SUV")
        for n, lesion in enumerate(self.patient.lesions):
            if not (0 < lesion.radius_mm < 200 and 0 <= lesion.suv < 1e4):
                raise ValueError(f"patient.lesions.{n} has an impossible radius_mm or suv")
        sizes = self.scanner.voxel_mm if self.voxel_mm is None else (self.voxel_mm,)
        if not all(VOXEL_MM[0] <= mm <= VOXEL_MM[1] for mm in sizes):
            raise ValueError(f"voxel_mm is not {VOXEL_MM[0]} to {VOXEL_MM[1]:g}")
        if not all(DOSE_FACTORS[0] <= factor <= DOSE_FACTORS[1] for factor in self.dose_factors):
            raise ValueError("dose_factors are not all 1 or more")
        return self


def read_record(path: str | Path) -> ScanRecord:
    """Read the record that `petdiff simulate` wrote.

    Raises InputRefused, naming the wrong field, if the file is not such a record.
    """
    path = Path(path).expanduser()
    try:
        content = read_json(path, finite=True)
    except InputRefused as problem:
        raise InputRefused(f"{problem}; {_REMEDY}") from None
    if not isinstance(content, dict) or not {"patient", "scanner"} <= content.keys():
        raise InputRefused(f"{path} is not the record of a simulated scan: {_REMEDY}")
    try:
        return ScanRecord.model_validate(content)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        text = f"{where}: {reason}" if where else reason
        raise InputRefused(f"{path} has an impossible value, {text}: {_REMEDY}") from None


def _check_ranges(
    name: str, values: BaseModel | Scanner, ranges: dict[str, tuple[float, float]]
) -> None:
    for field, (low, high) in ranges.items():
        value = getattr(values, field)
        if not all(low <= number <= high for number in np.ravel(value)):
            raise ValueError(f"{name}.{field} is {value}, not {low:g} to {high:g}")
