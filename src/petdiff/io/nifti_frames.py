"""Find the times of the frames of a 4-D NIfTI file in its BIDS sidecar or its header."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from petdiff.frames import FrameTiming
from petdiff.io.sidecar import Sidecar

_SECONDS_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}  # of xyzt_units, its next three bits


def frame_timings(
    path: Path, header: Any, count: int, sidecar: Sidecar | None
) -> tuple[tuple[FrameTiming, ...], dict[str, object], list[str]]:
    """Find the times of `count` frames of a NIfTI file.

    The BIDS keys FrameTimesStart and FrameDuration (seconds) of the sidecar have priority, then the
    frame distance in pixdim if the header states its unit of time.

    Returns the timings, facts about their source, and warnings.
    """
    keys = sidecar or Sidecar("", {})
    starts, wrong_starts = _seconds(keys, "FrameTimesStart", count)
    durations, wrong_durations = _seconds(keys, "FrameDuration", count)
    triggers, wrong_triggers = _seconds(keys, "FrameTriggerTime", count)
    warnings = [*wrong_starts, *wrong_durations, *wrong_triggers]
    if starts or durations or triggers:
        unknown: list[float | None] = [None] * count
        rows = zip(starts or unknown, durations or unknown, triggers or unknown, strict=True)
        return tuple(FrameTiming(*row) for row in rows), {"frame_times": keys.name}, warnings
    step_s = _step_s(header)
    if step_s is None:
        warnings.append(
            f"{path.name}: neither a sidecar nor the header has the times of its {count} frames"
        )
        return (FrameTiming(),) * count, {"frame_times": None}, warnings
    timings = tuple(FrameTiming(round(n * step_s, 6), step_s) for n in range(count))
    warnings.append(
        f"{path.name}: its frames are taken to follow one another every {step_s:g} s, as the "
        "header says; there is no sidecar with FrameTimesStart and FrameDuration"
    )
    return timings, {"frame_times": "pixdim"}, warnings


def timing_keys(timings: Sequence[FrameTiming]) -> dict[str, list[float]]:
    """Return the times as keys of a sidecar, in seconds; unknown times are left out."""
    columns = {
        "FrameTimesStart": [timing.start_s for timing in timings],
        "FrameDuration": [timing.duration_s for timing in timings],
        "FrameTriggerTime": [timing.trigger_s for timing in timings],  # no key of BIDS
    }
    return {
        key: [value for value in column if value is not None]
        for key, column in columns.items()
        if None not in column
    }


def even_step_s(timings: Sequence[FrameTiming]) -> float | None:
    """Return the duration of the frames if it is the same for all."""
    durations = {timing.duration_s for timing in timings}
    return durations.pop() if len(durations) == 1 else None


def _seconds(sidecar: Sidecar, key: str, count: int) -> tuple[list[float] | None, list[str]]:
    """Return one key's seconds by frame; None, with a warning, if their number is wrong."""
    if key not in sidecar.content:
        return None, []
    stored = sidecar.content[key]
    values = stored if isinstance(stored, list) else [stored]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != count or len(values) != count or not all(map(isfinite, numbers)):
        return None, [f"{sidecar.name}: {key} does not hold one number for each of {count} frames"]
    return numbers, []


def _step_s(header: Any) -> float | None:
    """Return the distance between frames in the header, if it states a unit of time."""
    unit = _SECONDS_PER_UNIT.get(int(header["xyzt_units"]) & 0x38)
    shape = header.get_data_shape()
    axis = next((axis for axis in range(3, len(shape)) if shape[axis] > 1), 3)
    step = abs(float(header["pixdim"][axis + 1]))
    return step * unit if unit and isfinite(step) and step > 0 else None
