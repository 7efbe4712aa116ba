"""The output folder of `petdiff denoise`, read again: the measured scan, its answer, the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.inference.run_record import RunRecord, read_run_record
from petdiff.io import read_static
from petdiff.io.forms import existing
from petdiff.io.volume_source import stored_factor
from petdiff.measurement.measure import Intervals, measure
from petdiff.measurement.record import Measurement
from petdiff.measurement.region import Region
from petdiff.volume.activity import activity_change

DEFAULT_LEVEL = 0.9
_SAME_MM = 0.1  # how far apart voxels of one grid may lie
_SAME_CHANGE = 0.005  # how far the change of activity may be from the recorded one
_SUFFIX = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "dicom": ""}


@dataclass(frozen=True, eq=False)
class Run:
    """A denoised scan with the scan that it was made from, on one grid and in one unit."""

    record: RunRecord
    measured: PETImage
    denoised: PETImage


def read_run(folder: str | Path, scan: str | Path | None = None) -> Run:
    """Read a run of one frame.

    scan  the measured scan, if it is no longer where run.json says

    Raises InputRefused where a part is missing, has several frames, or is not of this run.
    """
    folder = existing(folder)
    folder = folder.parent if folder.name == "run.json" else folder
    if not (folder / "run.json").is_file():
        raise InputRefused(f"{folder} holds no run.json: give the output folder of petdiff denoise")
    record = read_run_record(folder / "run.json")
    if record.output_form not in _SUFFIX:
        raise InputRefused(
            f"{folder} is a {record.output_form} derivative: denoise the scan with `to` nifti to "
            "measure it"
        )
    if record.denoising.frames:
        raise InputRefused(f"{folder} is the run of a scan of several frames: denoise one of them")
    measured = _measured(record, scan)
    denoised = _denoised(folder, record, measured)
    _require_same(record, measured, denoised)
    return Run(record, measured, denoised)


def measure_run(run: Run, regions: Sequence[Region], *, level: float | None = None) -> Measurement:
    """Measure regions of a run, with the intervals of its model, settings and dose.

    level  of the intervals; None: 0.9, and where the run has none, a note that says why

    Raises InputRefused or UsageError where `level` is given and the run has no intervals.
    """
    try:
        intervals = intervals_of(run, DEFAULT_LEVEL if level is None else level)
    except (InputRefused, UsageError) as problem:
        if level is not None:
            raise
        found = measure(run.measured, run.denoised, regions)
        return found.model_copy(update={"notes": (*found.notes, str(problem))})
    return measure(run.measured, run.denoised, regions, **intervals._asdict())


def intervals_of(run: Run, level: float) -> Intervals:
    """Return what the intervals of a run's figures take.

    Raises InputRefused or UsageError, saying why, where the model, its settings, such scans or this
    level were not calibrated.
    """
    from petdiff.methods.base import image_steps
    from petdiff.methods.model import load_model, weights_path
    from petdiff.uncertainty.calibration.store import load_calibration

    asked, done = run.record.options, run.record.denoising
    calibration = load_calibration(weights_path(done.model.name), done.model.sha256)
    if asked.voxel_mm is not None:
        raise InputRefused("no interval: the run had a `voxel_mm`, which was not calibrated")
    steps = done.steps
    if done.samples > 1:  # else there is no need to load the model
        steps = image_steps(load_model(done.model.name).method, done.samples, done.steps)
    if steps != calibration.steps:
        raise InputRefused(f"no interval: answers in {steps} steps were not calibrated")
    found = Intervals(calibration, level, done.drf)
    if reason := found.refused(run.measured):
        raise InputRefused(reason)
    return found


def _measured(record: RunRecord, scan: str | Path | None) -> PETImage:
    asked = record.options
    path = Path(scan) if scan is not None else Path(asked.scan)
    if scan is None and not path.expanduser().exists():
        raise InputRefused(
            f"{asked.scan}, the measured scan that run.json names, is not there: give its path as "
            "`scan`"
        )
    return read_static(path, series=asked.series, units=asked.units, suv_factor=asked.suv_factor)


def _denoised(folder: Path, record: RunRecord, measured: PETImage) -> PETImage:
    path = folder / f"denoised{_SUFFIX[record.output_form]}"
    if not path.exists():
        raise InputRefused(f"{folder} lacks {path.name}, the denoised scan: run denoise again")
    asked = record.options
    if record.output_form == "dicom":
        return read_static(path, units=asked.units, suv_factor=asked.suv_factor)
    # The file holds the values in the unit of the measured file, which it does not always name.
    held = read_static(path, units="suv")
    if not held.shares_voxels(measured, _SAME_MM):
        raise _other_scan(record)
    return measured.with_values(held.values / stored_factor(measured))


def _require_same(record: RunRecord, measured: PETImage, denoised: PETImage) -> None:
    """Raise InputRefused unless the measured scan is the one that was denoised."""
    if not measured.shares_voxels(denoised, _SAME_MM):
        raise _other_scan(record)
    if measured.in_suv != denoised.in_suv:
        raise UsageError(
            f"the measured scan is in {measured.unit_name}, the denoised in {denoised.unit_name}"
        )
    now = activity_change(
        measured.values, denoised.values, measured.spacing_mm, in_suv=measured.in_suv
    ).relative_change
    was = record.activity.relative_change
    if now is not None and was is not None and abs(now - was) > _SAME_CHANGE:
        raise _other_scan(record)


def _other_scan(record: RunRecord) -> InputRefused:
    return InputRefused(
        "the measured scan is not the one that was denoised, or has changed since: give the path "
        f"of {Path(record.options.scan).name} as `scan`, or denoise again"
    )
