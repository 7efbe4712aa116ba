"""run.json: the record of a run with its scan, model, options and change of activity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, JsonValue, ValidationError

from petdiff.errors import InputRefused, first_error
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.record import DenoisingRecord
from petdiff.io.json_files import read_json
from petdiff.records import FileName, RunFacts
from petdiff.uncertainty.alarm.record import AlarmRecord
from petdiff.uncertainty.audit.record import AuditRecord
from petdiff.volume.activity import ActivityChange

_OF_THE_PROCESS = ("petdiff", "finished", "versions", "machine", "peak_memory_bytes")

OutputFormat = Literal["dicom", "nifti", "nrrd", "mha", "bids"]
# Suffix of the file of a result; DICOM is a folder.
SUFFIX: Mapping[OutputFormat, str] = {
    "dicom": "", "nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "bids": ".nii.gz",
}  # fmt: skip


class RunOptions(DenoiseOptions, frozen=True, extra="ignore"):
    """The options of the call, with defaults; `to` is the requested format."""

    scan: FileName
    model: FileName
    series: str | None = None
    units: Literal["suv", "bqml"] | None = None
    suv_factor: float | None = None
    to: OutputFormat | None = None
    interval: float | None = None


class SUVFacts(BaseModel, frozen=True):
    """The SUV rule and its factor, both None if the scan has no SUV.

    factor      SUV = stored value × factor; one per slice if they differ
    reason      reason for the rule, or why there is no SUV
    candidates  factors of all rules that the headers allow
    spread      largest relative difference between these factors
    inputs      header values from which the factor was computed
    """

    unit: str = ""
    rule: str | None = None
    reason: str = ""
    factor: float | list[float] | None = None
    candidates: dict[str, float] = {}
    spread: float = 0.0
    warnings: tuple[str, ...] = ()
    inputs: dict[str, JsonValue] = {}


class ScanFacts(BaseModel, frozen=True, extra="allow"):
    """Facts of the scan; each file format adds its own.

    unit         the stored unit, as DICOM names it
    values_in    the unit of all values in the record and in the results, for display
    fingerprint  of its voxels (petdiff.data.fingerprint); None in records of earlier versions
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    unit: str
    values_in: str = "SUV"
    fingerprint: str | None = None
    suv: SUVFacts = SUVFacts()
    warnings: tuple[str, ...] = ()
    manufacturer: str | None = None
    scanner: str | None = None
    tracer: str | None = None
    image_type: tuple[str, ...] | None = None

    @classmethod
    def of(cls, image: PETImage, fingerprint: str | None = None) -> ScanFacts:
        """Return the facts of an image, with the fingerprint of the scan if it is known."""
        grid = {"shape": image.shape, "spacing_mm": image.spacing_mm}
        unit = {"unit": image.unit, "values_in": image.unit_name}
        known = {"fingerprint": fingerprint}
        return cls.model_validate(grid | unit | dict(image.facts) | known)


class RunRecord(RunFacts, frozen=True):
    """The content of run.json.

    activity  change of activity by denoising; for a scan of frames, that of their mean
    alarm     comparison of the scan with the model's reference scans; None if it has none
    audit     differences that the measured scan does not support; None without an audit
    """

    options: RunOptions
    input: ScanFacts
    output_form: OutputFormat
    denoising: DenoisingRecord
    activity: ActivityChange
    alarm: AlarmRecord | None = None
    audit: AuditRecord | None = None


def read_run_record(path: str | Path) -> RunRecord:
    """Read the record of a run of `petdiff denoise`.

    Raises InputRefused, naming the entry, if the file is no such record.
    """
    path = Path(path).expanduser()
    content = read_json(path, finite=True)
    try:
        record = RunRecord.model_validate(content)
    except ValidationError as problem:
        raise _no_record(path, first_error(problem)) from None
    # The defaults describe this process, not the process of the run.
    for name in _OF_THE_PROCESS:
        if name not in record.model_fields_set:
            raise _no_record(path, f"{name}: missing")
    return record


def _no_record(path: Path, reason: str) -> InputRefused:
    return InputRefused(f"{path} is not the run.json of petdiff denoise ({reason})")
