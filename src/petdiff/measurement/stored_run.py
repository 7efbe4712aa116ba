"""Read the output folder of `petdiff denoise`: measured scan, denoised scan and record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.inference.record import FrameRecord
from petdiff.inference.run_record import SUFFIX, RunRecord, read_run_record
from petdiff.io import Units, read, read_static
from petdiff.io.formats import existing
from petdiff.io.volume_source import stored_factor
from petdiff.volume.activity import relative_change

_SAME_MM = 0.1  # how far apart voxels of one grid may lie
_SAME_CHANGE = 0.005  # how far the change of activity may be from the recorded one
_BIDS_RECORDS = ("figures/*_run.json", "ses-*/figures/*_run.json",
                 "sub-*/figures/*_run.json", "sub-*/ses-*/figures/*_run.json")  # fmt: skip
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Run:
    """A denoised scan with the scan that it was made from, on one grid and in one unit.

    frame  what run.json holds of the frame that was read; None for a scan of one volume
    """

    record: RunRecord
    measured: PETImage
    denoised: PETImage
    frame: FrameRecord | None = None


def read_run(
    folder: str | Path, scan: str | Path | None = None, *, frame: int | None = None
) -> Run:
    """Read a run, or one frame of it.

    folder  of the results, a run.json, or a BIDS derivative with the results of one scan
    scan    the measured scan, if it is no longer where run.json says
    frame   its number, from 1, where the scan has several

    Raises InputRefused where a part is missing or not of this run, UsageError for a `frame` that
    is missing or not there.
    """
    file = _record_file(existing(folder))
    record = read_run_record(file)
    row = _frame(record, frame)
    measured = _measured(record, scan, frame)
    denoised = _denoised(file, record, measured, frame)
    was = (record.activity if row is None else row).relative_change
    _require_same(record, measured, denoised, was)
    return Run(record, measured, denoised, row)


def _record_file(path: Path) -> Path:
    """Return the run.json of a folder, or of the one scan of a BIDS derivative."""
    if path.is_file() and path.suffix == ".json":
        return path
    if (path / "run.json").is_file():
        return path / "run.json"
    found = sorted(file for pattern in _BIDS_RECORDS for file in path.glob(pattern))
    if len(found) > 1:
        shown = ", ".join(str(file.relative_to(path)) for file in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputRefused(
            f"{path} holds the results of {len(found)} scans: give the path of one: {shown}{more}"
        )
    if not found:
        raise InputRefused(f"{path} holds no run.json: give the output folder of petdiff denoise")
    return found[0]


def _frame(record: RunRecord, frame: int | None) -> FrameRecord | None:
    """Return the row of a frame; None for a scan of one volume."""
    rows = record.denoising.frames
    if not rows and frame is not None:
        raise UsageError("`frame`: the scan of this run has no frames; leave it out")
    if rows and frame is None:
        raise UsageError(
            f"the scan of this run has {len(rows)} frames: choose one, from 1 on, as `frame`"
        )
    if frame is not None and not 1 <= frame <= len(rows):
        raise UsageError(f"`frame` is {frame}, and the scan has the frames 1 to {len(rows)}")
    return None if frame is None else rows[frame - 1]


def _measured(record: RunRecord, scan: str | Path | None, frame: int | None) -> PETImage:
    asked = record.options
    path = Path(scan) if scan is not None else Path(asked.scan)
    if scan is None and not path.expanduser().exists():
        raise InputRefused(
            f"{asked.scan}, the measured scan that run.json names, is not there: give its path as "
            "`scan`"
        )
    return _read(path, frame, asked.series, asked.units, asked.suv_factor)


def _read(
    path: Path, frame: int | None, series: str | None, units: Units | None, factor: float | None
) -> PETImage:
    if frame is None:
        return read_static(path, series=series, units=units, suv_factor=factor)
    found = read(path, series=series, units=units, suv_factor=factor)
    if isinstance(found, PETImage) or len(found) < frame:
        raise InputRefused(f"{path} has no frame {frame}: it is not the scan of this run")
    return found[frame - 1]


def _denoised(file: Path, record: RunRecord, measured: PETImage, frame: int | None) -> PETImage:
    path = _denoised_file(file, record)
    if not path.exists():
        raise InputRefused(f"{path.parent} lacks {path.name}, the denoised scan: run denoise again")
    asked = record.options
    if record.output_form == "dicom":
        return _read(path, frame, None, asked.units, asked.suv_factor)
    # The file holds the values in the unit of the measured file, which it does not always name.
    held = _read(path, frame, None, "suv", None)
    if not held.shares_voxels(measured, _SAME_MM):
        raise _other_scan(record)
    return measured.with_values(held.values / stored_factor(measured))


def _denoised_file(file: Path, record: RunRecord) -> Path:
    """Return where the denoised scan lies, from where the run.json lies."""
    if record.output_form == "bids":
        name = f"{file.name.removesuffix('_run.json')}_pet.nii.gz"
        return file.parent.parent / "pet" / name
    return file.parent / f"denoised{SUFFIX[record.output_form]}"


def _require_same(
    record: RunRecord, measured: PETImage, denoised: PETImage, was: float | None
) -> None:
    """Raise InputRefused unless the measured scan is the one that was denoised.

    was  the change of its activity, as recorded
    """
    if not measured.shares_voxels(denoised, _SAME_MM):
        raise _other_scan(record)
    if measured.in_suv != denoised.in_suv:
        raise UsageError(
            f"the measured scan is in {measured.unit_name}, the denoised in {denoised.unit_name}"
        )
    before, after = (float(scan.values.sum(dtype=np.float64)) for scan in (measured, denoised))
    now = relative_change(before, after)
    if now is not None and was is not None and abs(now - was) > _SAME_CHANGE:
        raise _other_scan(record)


def _other_scan(record: RunRecord) -> InputRefused:
    return InputRefused(
        "the measured scan is not the one that was denoised, or has changed since: give the path "
        f"of {Path(record.options.scan).name} as `scan`, or denoise again"
    )
