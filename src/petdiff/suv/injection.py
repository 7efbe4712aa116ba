"""The time of injection, by every reading that a PET header allows.

A nuclide with a half-life of 11.5 h or more needs the full date, which a time of day cannot
replace. For all others, where the date does not fit the scan, only the time of day is used (IBSI
manual for SUV computation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from petdiff.suv.clock import Clock, relative
from petdiff.suv.half_life import (
    LONG_LIVED_S,
    MAX_HALF_LIVES,
    SUV_TOLERANCE,
    elapsed_limits_s,
    is_plausible_duration,
    suv_change,
)
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.scan_times import DAY, ScanTimes, zone_unknown

INJECTION_DATETIME = "RadiopharmaceuticalStartDateTime (0018,1078)"
INJECTION_TIME = "RadiopharmaceuticalStartTime (0018,1072)"

_ZONE_STEP_S = 900.0  # time zones differ by whole quarters of an hour
_WIDEST_ZONES = timedelta(hours=14)


@dataclass(frozen=True)
class Injection:
    """The time of injection, its header field, and other possible times by name."""

    moment: datetime
    source: str
    others: Mapping[str, datetime] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reading:
    """One reading of the header; `day` is None where the header has a time of day only."""

    source: str
    clock: Clock
    day: date | None = None

    @property
    def moment(self) -> datetime:
        assert self.day is not None
        return datetime.combine(self.day, self.clock.time)


@dataclass(frozen=True)
class _Window:
    """The times that can be the injection of a scan that was measured at `scan`."""

    scan: datetime
    end: datetime | None  # of the latest slice's frame, if known
    half_life_s: float

    def admits(self, moment: datetime) -> bool:
        """Return whether the tracer of the scan can have been injected at `moment`."""
        min_s, max_s = elapsed_limits_s(self.half_life_s)
        elapsed_s = (self.scan - moment).total_seconds()
        return min_s <= elapsed_s <= max_s and (self.end is None or moment < self.end)

    def days(self, clock: Clock) -> list[datetime]:
        """Return the possible injections at a time of day, those before the scan first."""
        same_day = datetime.combine(self.scan.date(), clock.time)
        days = int(MAX_HALF_LIVES * self.half_life_s / 86_400) + 2
        moments = [same_day + n * DAY for n in range(1, -days - 1, -1)]
        return sorted(filter(self.admits, moments), key=lambda m: (m > self.scan, self.scan - m))


def find_injection(
    slices: Sequence[SliceHeader], scan: ScanTimes, anchor: datetime, half_life_s: float
) -> Injection:
    """Find the injection of a scan that was measured at `anchor`, usually its earliest slice.

    Raises SUVRefused where the header has no time of injection, or none that fits the scan.
    """
    header, notes = slices[0], list[str]()
    readings = _readings(header, half_life_s, notes)
    if not readings:
        raise refuse(header, f"neither {INJECTION_DATETIME} nor {INJECTION_TIME} is there")
    if half_life_s >= LONG_LIVED_S:
        _require_dates(header, readings[0], scan, half_life_s)
    window = _Window(anchor, _end(slices, scan), half_life_s)
    found = [(r, r.moment) for r in readings if r.day is not None and window.admits(r.moment)]
    if not found and half_life_s < LONG_LIVED_S:
        found = [(r, moment) for r in readings for moment in window.days(r.clock)]
        if found and readings[0].day is not None:
            notes.append(
                f"{readings[0].source} is {relative(readings[0].moment, anchor)} the scan, which "
                "it does not fit: its time of day is used"
            )
    if not found:
        raise refuse(header, _mismatch(readings[0], window))
    (reading, moment), *others = found
    notes += _uncertain_points(reading, moment, scan, window)
    named = {
        f"injection {relative(other, anchor)} the scan": other
        for _, other in others
        if other != moment
    }
    return Injection(moment, reading.source, named, tuple(notes))


def _end(slices: Sequence[SliceHeader], scan: ScanTimes) -> datetime | None:
    """Return the end of the latest frame; None unless every slice has a start and a duration."""
    ends = []
    for s, start in zip(slices, scan.starts, strict=True):
        if start is None or not s.frame_duration_s or not is_plausible_duration(s.frame_duration_s):
            return None
        ends.append(start + timedelta(seconds=s.frame_duration_s))
    return max(ends)


def _readings(header: SliceHeader, half_life_s: float, notes: list[str]) -> list[_Reading]:
    """Return the readings of the two header fields, the likeliest first."""
    written, clock = header.injection, header.injection_clock
    local = written.in_zone(header.zone)
    if local.clock is None:
        # A date without a time is completed by the time of the other field.
        return [] if clock is None else [_Reading(INJECTION_TIME, clock, local.day)]
    stated = _Reading(INJECTION_DATETIME, local.clock, local.day)
    is_zone_unknown = written.has_offset and (header.zone is None or written.offset is None)
    if clock is None:
        if is_zone_unknown:
            notes.append(zone_unknown(INJECTION_DATETIME, half_life_s))
        return [stated]
    if local.day is None:
        return [_Reading(INJECTION_TIME, clock)]
    difference_s = _difference_s(clock, local.clock)
    if 0 <= difference_s < local.clock.precision_s and clock.precision_s < local.clock.precision_s:
        return [_Reading(INJECTION_TIME, clock, local.day)]
    if 0 <= -difference_s < clock.precision_s:
        return [stated]
    by_clock = [_Reading(INJECTION_TIME, clock, day) for day in _days_beside(stated, clock)]
    apart = min(abs(reading.moment - stated.moment) for reading in by_clock)
    if suv_change(apart.total_seconds(), half_life_s) > SUV_TOLERANCE:
        notes.append(f"{INJECTION_DATETIME} and {INJECTION_TIME} differ by {apart}")
    if is_zone_unknown and difference_s % _ZONE_STEP_S == 0:
        # A TM is in the scanner's time zone; a DT need not be (PS3.5 6.2).
        return [*by_clock, stated]
    if (
        written.clock is not None
        and suv_change(_difference_s(clock, written.clock), half_life_s) <= SUV_TOLERANCE
    ):
        # Both have the same time of day, so the offset from UTC is an error of the writing program.
        return [_Reading(INJECTION_TIME, clock, written.day), stated]
    return [stated, *by_clock]


def _days_beside(stated: _Reading, clock: Clock) -> list[date]:
    """Return the days on which a time of day is within 14 h of a full date and time."""
    days = [stated.moment.date() + n * DAY for n in (0, -1, 1)]
    return [
        day
        for day in days
        if abs(datetime.combine(day, clock.time) - stated.moment) <= _WIDEST_ZONES
    ]


def _difference_s(one: Clock, other: Clock) -> float:
    day = date(2000, 1, 1)
    return (datetime.combine(day, one.time) - datetime.combine(day, other.time)).total_seconds()


def _require_dates(
    header: SliceHeader, reading: _Reading, scan: ScanTimes, half_life_s: float
) -> None:
    """Raise SUVRefused for a long-lived nuclide if injection or scan has no date."""
    hours = f"a half-life of {half_life_s / 3600:.1f} h"
    if reading.day is None:
        raise refuse(
            header,
            f"{INJECTION_DATETIME} gives no date, and with {hours} the time of day alone leaves "
            "open on which day the tracer was given",
        )
    if not scan.dated:
        raise refuse(header, f"it has no date, and with {hours} the day of the scan matters")


def _uncertain_points(
    reading: _Reading, moment: datetime, scan: ScanTimes, window: _Window
) -> list[str]:
    """Return what is uncertain about the chosen reading, and how much SUV depends on it."""
    notes = []
    off = suv_change(reading.clock.precision_s, window.half_life_s)
    if off > SUV_TOLERANCE:
        notes.append(
            f"{reading.source} is given to {reading.clock.precision_s:g} s only, by which SUV may "
            f"be off by {off:.1%}"
        )
    if not scan.day_is_sure and any(window.admits(moment + n * DAY) for n in (-1, 1)):
        notes.append(
            "AcquisitionDate (0008,0022) is absent, or SeriesDate (0008,0021) is days later: a day "
            f"more or less would change SUV by {suv_change(86_400, window.half_life_s):.0%}"
        )
    if moment > window.scan:
        notes.append(
            f"the injection is {relative(moment, window.scan)} the start of the scan: a dynamic "
            "scan that starts first is assumed"
        )
    return notes


def _mismatch(reading: _Reading, window: _Window) -> str:
    """Return why the likeliest reading cannot be the injection of the scan."""
    min_s, max_s = elapsed_limits_s(window.half_life_s)
    hours = f"{min_s / 3600:.2g} h to {max_s / 3600:.3g} h ({MAX_HALF_LIVES} half-lives)"
    repair = ""
    if window.half_life_s >= LONG_LIVED_S:
        repair = "; with so long a half-life a date is not repaired by the time of day"
    when = f"at {reading.clock.time}"
    if reading.day is not None:
        when = f"{relative(reading.moment, window.scan)} the scan"
    return (
        f"the injection by {reading.source}, {when}, does not fit the scan, which must be "
        f"{hours} later and end after it{repair}"
    )
