"""Parsers of DICOM dates, clock times and time zones. No text makes them raise an exception."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

# A year outside is a damaged value; within, a date plus a plausible duration cannot overflow.
_YEARS = range(1000, 9000)
_OFFSETS = (timedelta(hours=-12), timedelta(hours=14))  # PS3.5 6.2: −1200 to +1400
_DATETIME = re.compile(
    r"(?P<day>\d{4}\.?\d{2}\.?\d{2})(?P<clock>\d[\d:]*(?:\.\d*)?)?(?P<offset>[+-].*)?"
)
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


@dataclass(frozen=True)
class Clock:
    """A time of day, and the precision of its text in seconds: 60 for HHMM."""

    time: time
    precision_s: float = 1.0


@dataclass(frozen=True)
class Stamp:
    """A date and a time of day as a header writes them; None for each that is missing or damaged.

    `offset` is the time zone that the text itself states (a DT's &ZZXX); `has_offset` is also
    True where it states one that cannot be.
    """

    day: date | None = None
    clock: Clock | None = None
    offset: timedelta | None = None
    has_offset: bool = False

    def in_zone(self, zone: timedelta | None) -> Stamp:
        """Return the stamp in the zone of the header's other times, where both zones are known."""
        if self.offset is None or zone is None or self.day is None or self.clock is None:
            return self
        moment = datetime.combine(self.day, self.clock.time) - self.offset + zone
        clock = replace(self.clock, time=moment.time())
        return Stamp(moment.date(), clock, zone, has_offset=True)


def relative(moment: datetime, to: datetime) -> str:
    """Return how long `moment` is before or after `to`, without a date: "1:00:00 before".

    Warnings and reports use it, because a date may identify a patient.
    """
    difference = timedelta(seconds=round(abs((moment - to).total_seconds())))
    return f"{difference} {'after' if moment > to else 'before'}"


def parse_date(text: str) -> date | None:
    """Parse a DA, 20250131, or its older form, 2025.01.31 (PS3.5 6.2)."""
    digits = text.replace(".", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) == 8):
        return None
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    if year not in _YEARS:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def parse_clock(text: str) -> Clock | None:
    """Parse a TM: HH, HHMM, HHMMSS or HHMMSS.FFFFFF, also with colons (PS3.5 6.2)."""
    whole, _, fraction = text.replace(":", "").partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) in (2, 4, 6)):
        return None
    hour, minute, second = (int(whole[n : n + 2] or 0) for n in (0, 2, 4))
    microsecond = 0
    if fraction[:6].isascii() and fraction[:6].isdigit():
        microsecond = int(fraction[:6].ljust(6, "0"))
    try:
        found = time(hour, minute, min(second, 59), microsecond)  # TM allows a leap second, 60
    except ValueError:
        return None
    return Clock(found, {2: 3600.0, 4: 60.0, 6: 1.0}[len(whole)])


def parse_datetime(text: str) -> Stamp:
    """Parse a DT, YYYYMMDDHHMMSS.FFFFFF&ZZXX, in which everything after the day may be missing."""
    match = _DATETIME.fullmatch(text.replace(" ", ""))
    if match is None:
        return Stamp()
    offset = match["offset"]
    return Stamp(
        parse_date(match["day"]),
        parse_clock(match["clock"]) if match["clock"] else None,
        parse_zone(offset) if offset else None,
        has_offset=offset is not None,
    )


def parse_zone(text: str) -> timedelta | None:
    """Parse an offset from UTC, +0100 or -05:00; None outside -12 to +14 h."""
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
    offset = ahead if match[1] == "+" else -ahead
    return offset if _OFFSETS[0] <= offset <= _OFFSETS[1] else None
