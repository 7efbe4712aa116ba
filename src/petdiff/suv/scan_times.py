"""The times of a scan on one axis: starts of slices, series time, the vendor's scan time.

The axis is the scanner's own clock. Each repair of a time is recorded as a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from petdiff.suv.clock import Stamp, relative
from petdiff.suv.half_life import LONG_LIVED_S, suv_change
from petdiff.suv.header import NO_DAY, SliceHeader, refuse

DAY = timedelta(days=1)
# SeriesTime is shortly before the first slice; a later time is that of a reconstruction.
_OPENED_BEFORE, _OPENED_AFTER = timedelta(hours=6), timedelta(hours=18)
_LONGEST_SCAN = timedelta(hours=12)

Starts = list[datetime | None]


@dataclass(frozen=True)
class ScanTimes:
    """When the scan was measured.

    starts        of each slice's frame; None where the header does not say
    series        SeriesDate and SeriesTime (0008,0021, 0008,0031), if not after the first slice
    vendor        GE's scan time (0009,100D)
    series_later  the series time on the day of the scan, where SeriesDate is days later
    day_is_sure   False where AcquisitionDate (0008,0022) is missing, or SeriesDate is days later
    dated         False where the header has no date at all
    notes         what was repaired, and why
    """

    starts: tuple[datetime | None, ...]
    series: datetime | None
    vendor: datetime | None
    series_later: datetime | None
    day_is_sure: bool
    dated: bool
    notes: tuple[str, ...]

    @property
    def first(self) -> datetime | None:
        """The start of the earliest slice."""
        return min((start for start in self.starts if start is not None), default=None)


def scan_times(slices: Sequence[SliceHeader], half_life_s: float) -> ScanTimes:
    """Put the starts of the slices, the series time and the vendor's scan time on one axis.

    Raises SUVRefused where the starts of the slices contradict each other.
    """
    notes: list[str] = []
    series = [s.series for s in slices if s.series.clock is not None]
    dated_series = min((_moment(s) for s in series if s.day is not None), default=None)
    starts, own_day = _starts(slices, half_life_s, notes)
    first = _earliest(starts)
    if first is not None and not own_day and dated_series is not None:
        starts = _shifted(starts, _in_day_from(first, dated_series - _OPENED_AFTER) - first)
        first = _earliest(starts)
    opened = _series_time(series, dated_series, first, notes)
    same_day = None  # for a series time that is days later
    if first is not None and dated_series is not None and dated_series > first + _OPENED_AFTER:
        same_day = _in_day_from(dated_series, first - _OPENED_BEFORE)
    dated = own_day or dated_series is not None or any(s.study_day for s in slices)
    if not dated:
        notes.append("no dates in the header: its clock times are taken to be of one day")
    return ScanTimes(
        starts=tuple(starts),
        series=opened,
        vendor=_vendor_time(slices, first, half_life_s, notes),
        series_later=same_day if first is not None and same_day and same_day <= first else None,
        day_is_sure=own_day and same_day is None,
        dated=dated,
        notes=tuple(notes),
    )


def zone_unknown(tag: str, half_life_s: float) -> str:
    """Return the note for a time with an offset in a header that does not state its own zone."""
    return (
        f"{tag} states an offset from UTC, and TimezoneOffsetFromUTC (0008,0201) is absent: its "
        "time is taken to be the scanner's; each hour between the two would change SUV by "
        f"{suv_change(3600, half_life_s):.1%}"
    )


def _starts(
    slices: Sequence[SliceHeader], half_life_s: float, notes: list[str]
) -> tuple[Starts, bool]:
    """Return each slice's start, and whether all slices have an AcquisitionDate.

    A scan lasts at most 12 h. Where the dates say more, only the times of day are used.
    """
    if any(s.acquisition.clock and s.acquisition.has_offset and s.zone is None for s in slices):
        notes.append(zone_unknown("AcquisitionDateTime (0008,002A)", half_life_s))
    own_day = all(s.acquisition.day is not None for s in slices)
    starts: Starts = [s.acquired for s in slices]
    known = [start for start in starts if start is not None]
    if known and max(known) - min(known) > _LONGEST_SCAN:
        starts = _by_clock(slices[0], starts, half_life_s, notes)
    return starts, own_day


def _by_clock(header: SliceHeader, starts: Starts, half_life_s: float, notes: list[str]) -> Starts:
    """Order starts by time of day alone, beginning after the longest gap within 24 hours."""
    known = [start for start in starts if start is not None]
    clocks = sorted({start - _midnight(start) for start in known})
    before = [clocks[-1], *clocks[:-1]]
    gaps = [(clock - last) % DAY for clock, last in zip(clocks, before, strict=True)]
    if len(clocks) > 1 and max(gaps) < DAY - _LONGEST_SCAN:
        raise refuse(header, "AcquisitionTime (0008,0032) of its slices covers more than 12 h")
    begin = clocks[gaps.index(max(gaps))]
    days = {start.date() for start in known}
    if half_life_s >= LONG_LIVED_S and len(days) > 1:
        raise refuse(
            header,
            "AcquisitionDate (0008,0022) of its slices differs by up to "
            f"{(max(days) - min(days)).days} days, and with a half-life of "
            f"{half_life_s / 3600:.1f} h a date is not repaired by the time of day",
        )
    origin = min(start for start in known if start - _midnight(start) == begin)
    notes.append(
        "AcquisitionDate (0008,0022) and AcquisitionTime (0008,0032) of the slices lie more than "
        f"12 h apart: by the clock times the scan starts at {origin:%H:%M:%S}"
        + (
            f"; a day less would change SUV by {suv_change(86_400, half_life_s):.0%}"
            if half_life_s >= LONG_LIVED_S
            else ""
        )
    )
    return [None if start is None else _in_day_from(start, origin) for start in starts]


def _series_time(
    series: Sequence[Stamp], dated: datetime | None, first: datetime | None, notes: list[str]
) -> datetime | None:
    """Return the series time; None where it is later than the first slice, or absent."""
    if not series:
        return None
    if first is None:
        return dated or min(_moment(stamp) for stamp in series)
    if dated is None:
        opened = min(_in_day_from(_moment(stamp), first - _OPENED_BEFORE) for stamp in series)
        return opened if opened <= first else None
    if dated > first or dated >= first - _OPENED_BEFORE:
        return dated if dated <= first else None
    opened = _in_day_from(dated, first - _OPENED_BEFORE)
    use = "its time of day is used" if opened <= first else "it is not used"
    notes.append(
        f"SeriesDate and SeriesTime (0008,0021, 0008,0031) are {relative(dated, first)} the first "
        f"slice: {use}"
    )
    return opened if opened <= first else None


def _vendor_time(
    slices: Sequence[SliceHeader], first: datetime | None, half_life_s: float, notes: list[str]
) -> datetime | None:
    """Return GE's scan time, on the day of the scan."""
    stamps = [s.ge_scan.in_zone(s.zone) for s in slices if s.ge_scan.clock is not None]
    if not stamps:
        return None
    if any(stamp.has_offset for stamp in stamps) and slices[0].zone is None:
        notes.append(zone_unknown("GE's scan time (0009,100D)", half_life_s))
    found = min(_moment(stamp) for stamp in stamps)
    if first is None:
        return found
    placed = _in_day_from(found, first - _OPENED_BEFORE)
    if placed != found:
        notes.append(
            f"GE's scan time (0009,100D) is {relative(found, first)} the first slice: its time of "
            "day is used"
        )
    return placed


def _moment(stamp: Stamp) -> datetime:
    assert stamp.clock is not None
    return datetime.combine(stamp.day or NO_DAY, stamp.clock.time)


def _in_day_from(moment: datetime, earliest: datetime) -> datetime:
    """Return the time of day of `moment`, in the 24 h that begin at `earliest`."""
    return earliest + (moment - earliest) % DAY


def _shifted(starts: Starts, by: timedelta) -> Starts:
    return [None if start is None else start + by for start in starts]


def _earliest(starts: Starts) -> datetime | None:
    return min((start for start in starts if start is not None), default=None)


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time())
