"""All times of a PET header on one consistent time axis.

A header states its times in several fields, and anonymisers, archives and vendors damage some of
them. `timeline` puts the scan, the injection and the reference time of decay correction on the axis
of the scanner's own clock. Each repair is recorded as a note. Other readings that the header allows
are kept as well, so that the difference between them can be reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from petdiff.suv.clock import relative
from petdiff.suv.half_life import (
    SUV_TOLERANCE,
    average_rate_time_s,
    elapsed_limits_s,
    is_plausible_duration,
    suv_change,
)
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.injection import Injection, find_injection
from petdiff.suv.scan_times import ScanTimes, scan_times

SERIES_TIME = "series time"
GE_TIME = "GE scan time"
FRAME_TIME = "frame reference time"
FIRST_TIME = "earliest acquisition"
SERIES_TIME_LATER = "series time, its date set aside"

# The order of the IBSI manual. In another common order the series time is the second to last.
_ORDER = (SERIES_TIME, GE_TIME, FRAME_TIME, FIRST_TIME)
_ROUNDED = 0.1  # of a frame's duration


@dataclass(frozen=True)
class Timeline:
    """The times of one PET series.

    scan          starts of the slices, and the series' and vendor's times
    injection     time of injection
    rule          name of the reference time that is used
    references    by rule, the times that DecayCorrection START may mean
    alternatives  names of `references` that are as plausible as `rule`
    impossible    rules whose times do not fit the injection
    notes         what was repaired or assumed, and why
    """

    scan: ScanTimes
    injection: Injection
    rule: str
    references: Mapping[str, datetime]
    alternatives: tuple[str, ...]
    impossible: tuple[str, ...]
    notes: tuple[str, ...]


def timeline(slices: Sequence[SliceHeader], half_life_s: float) -> Timeline:
    """Put all times of a series on one axis.

    Raises SUVRefused where the header lacks a time, or its times contradict each other in a way
    that cannot be repaired.
    """
    scan = scan_times(slices, half_life_s)
    anchor = scan.first or scan.series or scan.vendor
    if anchor is None:
        raise refuse(
            slices[0], "neither AcquisitionTime (0008,0032) nor SeriesTime (0008,0031) is there"
        )
    injection = find_injection(slices, scan, anchor, half_life_s)
    notes = [*scan.notes, *injection.notes]
    found = _references(slices, scan, half_life_s, notes)
    references = _admissible(found, injection, half_life_s, notes)
    rule = _chosen(references, injection, half_life_s)
    if rule is None:
        raise refuse(
            slices[0],
            f"no time of the scan (0008,0031, 0008,0032) fits the injection by {injection.source}",
        )
    if scan.first is None:
        notes.append(
            f"no slice has an AcquisitionTime (0008,0032): the {rule} is taken as the start of the "
            "scan, unchecked"
        )
    if rule == FIRST_TIME:
        notes.append("no clock says what decay is corrected to: the earliest slice is assumed")
    alternatives = _alternatives(references, scan, half_life_s)
    impossible = tuple(name for name in found if name not in references)
    return Timeline(scan, injection, rule, references, alternatives, impossible, tuple(notes))


def _references(
    slices: Sequence[SliceHeader], scan: ScanTimes, half_life_s: float, notes: list[str]
) -> dict[str, datetime]:
    found = {
        SERIES_TIME: scan.series,
        GE_TIME: scan.vendor,
        FRAME_TIME: _time_by_frame(slices, scan, half_life_s, notes),
        FIRST_TIME: scan.first,
        SERIES_TIME_LATER: scan.series_later,
    }
    return {rule: moment for rule, moment in found.items() if moment is not None}


def _time_by_frame(
    slices: Sequence[SliceHeader], scan: ScanTimes, half_life_s: float, notes: list[str]
) -> datetime | None:
    """Return t_acq + T_ave − FrameReferenceTime: the time that the reference counts from.

    None unless every slice has a start, a duration and a reference time, and all slices agree to
    1 % in activity. A reference time of zero counts as missing, because the mean time of a frame is
    never its start.
    """
    first, starts_s, durations_s = scan.first, list[float](), list[float]()
    if first is None:
        return None
    min_s, max_s = elapsed_limits_s(half_life_s)
    for s, start in zip(slices, scan.starts, strict=True):
        duration_s = s.frame_duration_s
        if start is None or not s.frame_reference_s or not duration_s:
            return None
        if not is_plausible_duration(duration_s):
            return None
        durations_s.append(duration_s)
        mean_moment_s = average_rate_time_s(duration_s, half_life_s)
        starts_s.append((start - first).total_seconds() + mean_moment_s - s.frame_reference_s)
    start_s = median(starts_s)
    difference = suv_change(max(starts_s) - min(starts_s), half_life_s)
    # The scan cannot start after its first frame, but for the rounding of the reference time.
    late = start_s > 0 and suv_change(start_s, half_life_s) > SUV_TOLERANCE
    if late or start_s > _ROUNDED * durations_s[0] or start_s < -(max_s - min_s):
        notes.append(
            f"FrameReferenceTime (0054,1300) of {slices[0].frame_reference_s:g} s is no time from "
            "the start of a scan to the middle of this frame: it is not used"
        )
        return None
    return None if difference > SUV_TOLERANCE else first + timedelta(seconds=start_s)


def _admissible(
    found: Mapping[str, datetime], injection: Injection, half_life_s: float, notes: list[str]
) -> dict[str, datetime]:
    """Return the times that can be the reference time for this injection, and note the others."""
    min_s, max_s = elapsed_limits_s(half_life_s)
    admissible = {}
    for rule, moment in found.items():
        if min_s <= (moment - injection.moment).total_seconds() <= max_s:
            admissible[rule] = moment
        else:
            notes.append(
                f"the {rule} is {relative(moment, injection.moment)} the injection, which it does "
                "not fit: it is not used"
            )
    return admissible


def _chosen(
    references: Mapping[str, datetime], injection: Injection, half_life_s: float
) -> str | None:
    """Return the first rule whose time is not before the injection, or is confirmed by another."""

    def confirmed(rule: str) -> bool:
        return any(
            suv_change((references[rule] - references[other]).total_seconds(), half_life_s)
            <= SUV_TOLERANCE
            for other in references
            if other != rule
        )

    rules = [rule for rule in _ORDER if rule in references]
    sound = [r for r in rules if references[r] >= injection.moment or confirmed(r)]
    return next(iter([*sound, *rules]), None)


def _alternatives(
    references: Mapping[str, datetime], scan: ScanTimes, half_life_s: float
) -> tuple[str, ...]:
    """Return the names of the references that are plausible readings.

    Where the frames or the vendor state the reference time, the earliest slice is only a guess and
    is left out. So is a series date that is days later, which is that of a reconstruction. A single
    frame whose reference time is its own middle does not state an earlier start of the scan.
    """
    frame, vendor, first = references.get(FRAME_TIME), scan.vendor, scan.first
    one_start = len({start for start in scan.starts if start is not None}) == 1
    by_frame = frame is not None and not (
        one_start
        and first is not None
        and suv_change((frame - first).total_seconds(), half_life_s) <= SUV_TOLERANCE
    )
    known = by_frame or (vendor is not None and first is not None and vendor <= first)
    guesses = (FIRST_TIME, SERIES_TIME_LATER) if known else ()
    return tuple(rule for rule in references if rule not in guesses)
