"""One consistent story of a PET header's dates, clock times and time zones.

A header states its times many times over, and anonymisers, archives and vendors spoil some of them.
`timeline` puts the scan, the injection and the moment that decay is corrected to on one time axis,
that of the scanner's own clock. What had to be repaired is a note, and every other reading that the
header admits is kept beside the chosen one, so that their difference can be reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from petdiff.suv.clock import relative
from petdiff.suv.half_life import (
    SAME,
    average_rate_time_s,
    change,
    elapsed_limits_s,
    plausible_frame,
)
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.injection import Injection, find_injection
from petdiff.suv.scan_times import ScanTimes, scan_times

SERIES_TIME = "series time"
GE_TIME = "GE scan time"
FRAME_TIME = "frame reference time"
FIRST_TIME = "earliest acquisition"
SERIES_TIME_LATER = "series time, its date set aside"

# The order of the IBSI manual. Another in use asks the series time second to last.
_ORDER = (SERIES_TIME, GE_TIME, FRAME_TIME, FIRST_TIME)
_ROUNDED = 0.1  # of a frame's duration


@dataclass(frozen=True)
class Timeline:
    """The times of one PET series.

    scan        starts of the slices, and the series' and vendor's times
    injection   when the tracer was given
    rule        which of `references` decay is corrected to
    references  by rule, the moments that DecayCorrection START may mean
    doubted     names of `references` that the header admits as well as `rule`
    impossible  rules whose times do not fit the injection
    notes       what was repaired or assumed, and why
    """

    scan: ScanTimes
    injection: Injection
    rule: str
    references: Mapping[str, datetime]
    doubted: tuple[str, ...]
    impossible: tuple[str, ...]
    notes: tuple[str, ...]


def timeline(slices: Sequence[SliceHeader], half_life_s: float) -> Timeline:
    """Bring all times of a series into one story.

    Raises SUVRefused where the header lacks a time, or its times contradict each other beyond
    repair.
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
    doubted = _doubted(references, scan, half_life_s)
    impossible = tuple(name for name in found if name not in references)
    return Timeline(scan, injection, rule, references, doubted, impossible, tuple(notes))


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

    None unless every slice has what it takes and all agree to 1 % in activity. A reference time of
    zero is a field left empty: no frame with a duration has its mean moment at the start.
    """
    first, starts_s, durations_s = scan.first, list[float](), list[float]()
    if first is None:
        return None
    least_s, most_s = elapsed_limits_s(half_life_s)
    for s, start in zip(slices, scan.starts, strict=True):
        duration_s = s.frame_duration_s
        if start is None or not s.frame_reference_s or not duration_s:
            return None
        if not plausible_frame(duration_s):
            return None
        durations_s.append(duration_s)
        mean_moment_s = average_rate_time_s(duration_s, half_life_s)
        starts_s.append((start - first).total_seconds() + mean_moment_s - s.frame_reference_s)
    start_s = median(starts_s)
    apart = change(max(starts_s) - min(starts_s), half_life_s)
    # The scan cannot start after its first frame, but for the rounding of the reference time.
    late = start_s > 0 and change(start_s, half_life_s) > SAME
    if late or start_s > _ROUNDED * durations_s[0] or start_s < -(most_s - least_s):
        notes.append(
            f"FrameReferenceTime (0054,1300) of {slices[0].frame_reference_s:g} s is no time from "
            "the start of a scan to the middle of this frame: it is not used"
        )
        return None
    return None if apart > SAME else first + timedelta(seconds=start_s)


def _admissible(
    found: Mapping[str, datetime], injection: Injection, half_life_s: float, notes: list[str]
) -> dict[str, datetime]:
    """Leave out times that cannot be a reference for this injection."""
    least_s, most_s = elapsed_limits_s(half_life_s)
    kept = {}
    for rule, moment in found.items():
        if least_s <= (moment - injection.moment).total_seconds() <= most_s:
            kept[rule] = moment
        else:
            notes.append(
                f"the {rule} is {relative(moment, injection.moment)} the injection, which it does "
                "not fit: it is not used"
            )
    return kept


def _chosen(
    references: Mapping[str, datetime], injection: Injection, half_life_s: float
) -> str | None:
    """Return the first rule whose time is not before the injection, or is confirmed by another."""

    def confirmed(rule: str) -> bool:
        return any(
            change((references[rule] - references[other]).total_seconds(), half_life_s) <= SAME
            for other in references
            if other != rule
        )

    rules = [rule for rule in _ORDER if rule in references]
    sound = [r for r in rules if references[r] >= injection.moment or confirmed(r)]
    return next(iter([*sound, *rules]), None)


def _doubted(
    references: Mapping[str, datetime], scan: ScanTimes, half_life_s: float
) -> tuple[str, ...]:
    """Return the rules that count as readings of their own.

    The earliest slice is only a guess where the frames or the vendor say what decay is corrected
    to, and a series date that is days later is then that of a later reconstruction. A single frame
    whose reference time is that of its own middle says nothing of an earlier start.
    """
    frame, vendor, first = references.get(FRAME_TIME), scan.vendor, scan.first
    one_start = len({start for start in scan.starts if start is not None}) == 1
    by_frame = frame is not None and not (
        one_start
        and first is not None
        and change((frame - first).total_seconds(), half_life_s) <= SAME
    )
    known = by_frame or (vendor is not None and first is not None and vendor <= first)
    guesses = (FIRST_TIME, SERIES_TIME_LATER) if known else ()
    return tuple(rule for rule in references if rule not in guesses)
