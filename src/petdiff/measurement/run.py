"""Measure regions of a stored run, with the intervals of its model, settings and dose."""

from __future__ import annotations

from collections.abc import Sequence

from petdiff.errors import InputRefused, UsageError
from petdiff.inference.record import FrameRecord
from petdiff.measurement.measure import IntervalSettings, measure
from petdiff.measurement.record import Measurement
from petdiff.measurement.region import Region
from petdiff.measurement.stored_run import Run
from petdiff.methods.weights_files import weights_path
from petdiff.uncertainty.calibration.record import load_calibration

DEFAULT_LEVEL = 0.9


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
        found = found.model_copy(update={"notes": (*found.notes, str(problem))})
    else:
        found = measure(run.measured, run.denoised, regions, **intervals._asdict())
    if run.frame is None:
        return found
    return found.model_copy(update={"notes": (_which(run.frame), *found.notes)})


def intervals_of(run: Run, level: float) -> IntervalSettings:
    """Return what the intervals of a run's figures take.

    Raises InputRefused or UsageError, saying why, where the model, its settings, such scans or this
    level were not calibrated.
    """
    from petdiff.methods.base import image_steps
    from petdiff.methods.model import load_model

    if run.frame is not None and run.frame.unchanged:
        raise InputRefused(
            f"no interval: frame {run.frame.frame} holds no activity and was left as it was"
        )
    asked, done = run.record.options, run.record.denoising
    calibration = load_calibration(weights_path(done.model.name), done.model.sha256)
    if asked.voxel_mm is not None:
        raise InputRefused(
            "no interval: the run worked at a voxel size that was given, which was not calibrated"
        )
    steps = done.steps
    if done.samples > 1:  # else there is no need to load the model
        steps = image_steps(load_model(done.model.name).method, done.samples, done.steps)
    if steps != calibration.steps:
        raise InputRefused(f"no interval: results of {steps} steps were not calibrated")
    found = IntervalSettings(calibration, level, done.drf)
    if reason := found.refused(run.measured):
        raise InputRefused(reason)
    return found


def _which(frame: FrameRecord) -> str:
    start_s, duration_s = frame.start_s, frame.duration_s
    when = "" if start_s is None else f", {start_s:g} s"
    if start_s is not None and duration_s is not None:
        when = f"{when} to {start_s + duration_s:g} s"
    return f"Figures and intervals are those of frame {frame.frame}{when}."
