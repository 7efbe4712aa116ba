"""How much of the administered dose is left at the time that a PET image's values refer to.

DICOM says with DecayCorrection (0054,1102) that values refer to the injection (ADMIN), to the start
of the scan (START) or to each slice's own frame (NONE); when the scan started has to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.suv.header import SliceHeader, refuse

SERIES_TIME = "series time"
GE_TIME = "GE scan time"
FRAME_TIME = "frame reference time"
FIRST_TIME = "earliest acquisition"

# Two orders of the START rules are in use: the series' clock first (IBSI manual), or the vendor's
# and the frame's own clock first. The first is ours, the second shows how sure it is.
SERIES_FIRST = (SERIES_TIME, GE_TIME, FRAME_TIME, FIRST_TIME)
FRAME_FIRST = (GE_TIME, FRAME_TIME, SERIES_TIME, FIRST_TIME)

_MOST_HALF_LIVES = 8  # by then 0.4 % of the activity is left: not a scan, but a wrong clock


@dataclass(frozen=True)
class Decay:
    """The fraction of the dose that is left, by each rule that the headers allow.

    rule is the one to use and other the one that the other accepted order of rules would use;
    a fraction is a float, or float64 [slice] where each slice has its own.
    """

    rule: str
    other: str
    remaining: Mapping[str, float | NDArray[np.float64]]
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def decay_of(slices: Sequence[SliceHeader]) -> Decay:
    """The fraction of the administered dose left when the values refer to it.

    Raises InputRefused where DecayCorrection, half-life, injection or scan time is missing.
    """
    header = slices[0]
    if header.decay_correction == "ADMIN":
        return Decay("administered", "administered", {"administered": 1.0})
    if header.decay_correction not in ("START", "NONE"):
        shown = header.decay_correction or "absent"
        raise refuse(header, f"DecayCorrection (0054,1102) is {shown}, not START, ADMIN or NONE")
    half_life_s = header.half_life_s
    if not half_life_s or half_life_s <= 0:
        raise refuse(header, f"RadionuclideHalfLife (0018,1075) is {half_life_s or 'absent'}")
    if header.decay_correction == "NONE":
        return _uncorrected(slices, half_life_s)
    return _corrected_to_start(slices, half_life_s)


def _corrected_to_start(slices: Sequence[SliceHeader], half_life_s: float) -> Decay:
    times = start_times(slices, half_life_s)
    if not times:
        raise refuse(
            slices[0], "neither AcquisitionTime (0008,0032) nor SeriesTime (0008,0031) is there"
        )
    rule, other = (
        next(name for name in order if name in times) for order in (SERIES_FIRST, FRAME_FIRST)
    )
    injection, warnings = injection_time(slices[0], times[rule], half_life_s)
    if not all(s.has_dates for s in slices):
        warnings.append("no dates in the header: its clock times are taken to be of one day")
    if rule == FIRST_TIME:
        warnings.append("no clock says what decay is corrected to: the earliest slice is assumed")
    remaining = {
        name: 2 ** (-(moment - injection).total_seconds() / half_life_s)
        for name, moment in times.items()
        if moment >= injection
    }
    facts = {
        "injection": injection.isoformat(),
        "reference": {name: moment.isoformat() for name, moment in times.items()},
    }
    return Decay(rule, other if other in remaining else rule, remaining, tuple(warnings), facts)


def _uncorrected(slices: Sequence[SliceHeader], half_life_s: float) -> Decay:
    """Each slice by its own start, and by the decay within its frame (average count rate)."""
    for header in slices:
        if header.acquisition is None or not header.frame_duration_s:
            raise refuse(
                header,
                "DecayCorrection is NONE, which needs each slice's AcquisitionTime (0008,0032) "
                "and ActualFrameDuration (0018,1242)",
            )
    starts = [s.acquisition for s in slices if s.acquisition is not None]
    injection, warnings = injection_time(slices[0], min(starts), half_life_s)
    decay_rate = np.log(2) / half_life_s
    elapsed_s = np.array([(start - injection).total_seconds() for start in starts])
    frames = decay_rate * np.array([s.frame_duration_s for s in slices], dtype=np.float64)
    within_frame = -np.expm1(-frames) / frames
    remaining = within_frame * np.exp(-decay_rate * elapsed_s)
    facts = {"injection": injection.isoformat()}
    return Decay("uncorrected", "uncorrected", {"uncorrected": remaining}, tuple(warnings), facts)


def start_times(slices: Sequence[SliceHeader], half_life_s: float) -> dict[str, datetime]:
    """The times that START may mean, by the name of the rule that finds each."""
    found: dict[str, datetime] = {}
    acquired = [s.acquisition for s in slices if s.acquisition is not None]
    series = [s.series for s in slices if s.series is not None]
    # A series time after the first slice is that of a later reconstruction or of the archive.
    if series and (not acquired or min(series) <= min(acquired)):
        found[SERIES_TIME] = min(series)
    vendor = [s.ge_scan for s in slices if s.ge_scan is not None]
    if vendor:
        found[GE_TIME] = min(vendor)
    frame = _time_by_frame(slices, half_life_s)
    if frame is not None:
        found[FRAME_TIME] = frame
    if acquired:
        found[FIRST_TIME] = min(acquired)
    return found


def _time_by_frame(slices: Sequence[SliceHeader], half_life_s: float) -> datetime | None:
    """t_acq + T_ave − FrameReferenceTime: the frame's mean moment, less its distance to the start.

    None unless every slice has what it takes and all agree to 1 % in activity. A reference time of
    zero is a field left empty: no frame with a duration has its mean moment at the start.
    """
    starts_s: list[float] = []
    origin = slices[0].acquisition
    for s in slices:
        if not (origin and s.acquisition and s.frame_reference_s and s.frame_duration_s):
            return None
        mean_moment_s = average_rate_time_s(s.frame_duration_s, half_life_s)
        since_origin_s = (s.acquisition - origin).total_seconds()
        starts_s.append(since_origin_s + mean_moment_s - s.frame_reference_s)
    if origin is None or max(starts_s) - min(starts_s) > 0.01 * half_life_s / np.log(2):
        return None
    return origin + timedelta(seconds=median(starts_s))


def average_rate_time_s(duration_s: float, half_life_s: float) -> float:
    """When, after the start of a frame, the count rate equals the frame's average.

    T_ave = ln(λT / (1 − e^(−λT))) / λ (DICOM PS3.3 C.8.9.4.1.5; IBSI manual).
    """
    decay_rate = np.log(2) / half_life_s
    frame = decay_rate * duration_s
    return float(np.log(frame / -np.expm1(-frame)) / decay_rate)


def injection_time(
    header: SliceHeader, scan: datetime, half_life_s: float
) -> tuple[datetime, list[str]]:
    """When the tracer was given, and what had to be assumed for that.

    The full date and time where they fit the scan; else the clock time on the day of the scan, or
    on the day before for a scan past midnight.
    """
    warnings: list[str] = []
    if header.injection is not None:
        if 0 <= (scan - header.injection).total_seconds() <= _MOST_HALF_LIVES * half_life_s:
            return header.injection, warnings
        # Dates shifted by anonymisation keep their clock time.
        warnings.append(
            f"RadiopharmaceuticalStartDateTime (0018,1078) {header.injection} does not fit "
            f"the scan at {scan}: its time of day is used"
        )
    clock = header.injection_clock or (header.injection.time() if header.injection else None)
    if clock is None:
        raise refuse(
            header,
            "neither RadiopharmaceuticalStartDateTime (0018,1078) nor "
            "RadiopharmaceuticalStartTime (0018,1072) is there",
        )
    injection = datetime.combine(scan.date(), clock)
    if injection > scan:
        injection -= timedelta(days=1)
    if (scan - injection).total_seconds() > _MOST_HALF_LIVES * half_life_s:
        raise refuse(
            header,
            f"the injection at {clock} (0018,1072) lies more than {_MOST_HALF_LIVES} half-lives "
            f"before the scan at {scan}",
        )
    return injection, warnings
