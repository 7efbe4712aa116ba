"""The times of the frames of a PET series, and a check of their decay correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pydicom import Dataset

from petdiff.frames import FrameTiming
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_geometry import SlicePlane
from petdiff.suv.half_life import (
    PLAUSIBLE_S,
    SUV_TOLERANCE,
    average_rate_time_s,
    is_plausible_duration,
    suv_change,
)
from petdiff.suv.header import SliceHeader

_HALF_DAY = timedelta(hours=12)
_MANIFOLD = 10.0  # a larger relative error of SUV is that of a damaged header


@dataclass(frozen=True)
class FrameSlice:
    """The data that assign a slice to a frame."""

    header: Dataset
    plane: SlicePlane
    times: SliceHeader


def acquired_s(moments: Sequence[datetime | None]) -> list[float | None]:
    """Return seconds since the first time; times after midnight with an old date get a day more."""
    known = [moment for moment in moments if moment is not None]
    if not known:
        return [None] * len(moments)
    first = min(known)
    if len({moment.date() for moment in known}) == 1 and max(known) - first > _HALF_DAY:
        evening = [moment for moment in known if moment - first > _HALF_DAY]
        first = min(evening)
    day = timedelta(days=1)
    return [
        None
        if moment is None
        else (moment - first + (day if moment < first else timedelta())).total_seconds()
        for moment in moments
    ]


def frame_timings(frames: Sequence[Sequence[FrameSlice]]) -> tuple[FrameTiming, ...]:
    """Return the timing of each frame, counted from the start of the first."""
    starts = _starts_s(frames)
    timings = []
    for frame, start_s in zip(frames, starts, strict=True):
        durations = [s.times.frame_duration_s for s in frame if s.times.frame_duration_s]
        triggers = [number_or_none(s.header, "TriggerTime") for s in frame]
        known = [trigger for trigger in triggers if trigger is not None]
        timings.append(
            FrameTiming(
                start_s=start_s,
                duration_s=float(np.median(durations)) if durations else None,
                trigger_s=float(np.median(known)) / 1000 if known else None,
            )
        )
    return tuple(timings)


def _starts_s(frames: Sequence[Sequence[FrameSlice]]) -> list[float | None]:
    """Return the start of each frame from AcquisitionTime or, without it, from its reference."""
    every = [s for frame in frames for s in frame]
    acquired = acquired_s([s.times.acquired for s in every])
    by_clock = _minimum_by_frame(acquired, frames)
    by_reference = _minimum_by_frame([_start_by_reference_s(s.times) for s in every], frames)
    starts = by_clock if len(set(by_clock)) > 1 or None in by_reference else by_reference
    known = [start for start in starts if start is not None]
    if len(known) < len(starts):
        return [None] * len(starts)
    return [round(start - min(known), 6) for start in known]


def _minimum_by_frame(
    values_s: Sequence[float | None], frames: Sequence[Sequence[FrameSlice]]
) -> list[float | None]:
    """Return the minimum over the slices of each frame; values in the order of all slices."""
    minima: list[float | None] = []
    first = 0
    for frame in frames:
        known = [value for value in values_s[first : first + len(frame)] if value is not None]
        minima.append(min(known) if known else None)
        first += len(frame)
    return minima


def _start_by_reference_s(times: SliceHeader) -> float | None:
    """Return a frame's start by FrameReferenceTime, the moment of its average count rate."""
    reference_s, duration_s = times.frame_reference_s, times.frame_duration_s
    if not reference_s or not duration_s or not is_plausible_duration(duration_s):
        return None
    half_life_s = times.half_life_s or 0
    middle_s = average_rate_time_s(duration_s, half_life_s) if half_life_s > 0 else duration_s / 2
    return reference_s - middle_s


def correction_warnings(slices: Sequence[FrameSlice]) -> list[str]:
    """Warn if the slices' DecayFactors (0054,1321) mean different reference times.

    DecayCorrection START means one reference time for all beds and frames of a series (DICOM PS3.3
    C.8.9.1.1.5). It is the time of a slice's average count rate less the decay by its factor. That
    time is known from AcquisitionTime and from FrameReferenceTime; only if both contradict one
    reference time is it doubted. A factor of 1 in all slices is a default value and is ignored.
    """
    first, half_life_s = slices[0].times, slices[0].times.half_life_s or 0.0
    if first.decay_correction != "START" or not PLAUSIBLE_S[0] <= half_life_s <= PLAUSIBLE_S[1]:
        return []
    factors = np.array([number_or_none(s.header, "DecayFactor") or 0.0 for s in slices])
    if factors.min() <= 0 or (factors == 1).all():
        return []
    decay_s = half_life_s * np.log2(factors)
    middles = (_middles_s(slices, half_life_s), [s.times.frame_reference_s for s in slices])
    differences_s = [
        float(np.ptp(np.array(known) - decay_s)) for known in middles if _differ(known)
    ]
    difference_s = min(differences_s, default=0.0)
    change = suv_change(difference_s, half_life_s)
    if change <= SUV_TOLERANCE:
        return []
    wrong = f"by {change:.1%}" if change < _MANIFOLD else "many times over"
    return [
        "by DecayFactor (0054,1321), beds or frames are decay corrected to times up to "
        f"{difference_s / 60:.1f} min apart, where START in DecayCorrection (0054,1102) means one "
        f"time: activity and SUV of one against another may be wrong {wrong}"
    ]


def _middles_s(slices: Sequence[FrameSlice], half_life_s: float) -> Sequence[float | None]:
    """Return each slice's time of average count rate; nothing if all have one AcquisitionTime."""
    starts_s = acquired_s([s.times.acquired for s in slices])
    durations_s = [s.times.frame_duration_s for s in slices]
    if not _differ(starts_s):
        return ()
    return [
        start_s + average_rate_time_s(duration_s, half_life_s)
        if start_s is not None and duration_s is not None and is_plausible_duration(duration_s)
        else None
        for start_s, duration_s in zip(starts_s, durations_s, strict=True)
    ]


def _differ(values: Sequence[float | None]) -> bool:
    """Return whether all values are known and some differ."""
    return None not in values and len(set(values)) > 1
