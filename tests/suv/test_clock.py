"""DICOM dates, times and zones: parsed by the standard, and nothing raises."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petdiff.suv.clock import Stamp, parse_clock, parse_date, parse_datetime, parse_zone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240229", date(2024, 2, 29)),
        ("2024.02.29", date(2024, 2, 29)),
        ("20230229", None),
        ("00010101", None),
        ("00000000", None),
        ("2024-02-29", None),
        ("202402", None),
        ("٢٠٢٤٠٢٢٩", None),
        ("", None),
    ],
)
def test_dates(text: str, expected: date | None) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "precision_s"),
    [
        ("090807", time(9, 8, 7), 1),
        ("09:08:07", time(9, 8, 7), 1),
        ("090807.5", time(9, 8, 7, 500_000), 1),
        ("0908", time(9, 8), 60),
        ("09", time(9), 3600),
        ("235960", time(23, 59, 59), 1),
    ],
)
def test_clock_times_and_what_they_leave_open(
    text: str, expected: time, precision_s: float
) -> None:
    found = parse_clock(text)
    assert found is not None
    assert (found.time, found.precision_s) == (expected, precision_s)


@pytest.mark.parametrize("text", ["", "9", "240000", "096000", "-10000", "noon", "0908075"])
def test_what_is_no_clock_time(text: str) -> None:
    assert parse_clock(text) is None


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("+0100", 60), ("-0500", -300), ("-05:30", -330), ("+1400", 840), ("-1200", -720)],
)
def test_zones(text: str, minutes: int) -> None:
    assert parse_zone(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["+9900", "-2401", "+1401", "0100", "UTC", ""])
def test_what_is_no_zone(text: str) -> None:
    assert parse_zone(text) is None


def test_a_date_and_time_moves_to_another_zone_across_midnight() -> None:
    stamp = parse_datetime("20240101233000.5+0000").in_zone(timedelta(hours=9))
    assert (stamp.day, stamp.clock and stamp.clock.time) == (
        date(2024, 1, 2),
        time(8, 30, 0, 500_000),
    )


@pytest.mark.parametrize("text", ["20240102080000", "20240102080000+9900"])
def test_without_a_known_offset_a_time_stays(text: str) -> None:
    stamp = parse_datetime(text)
    assert stamp.in_zone(timedelta(hours=-5)) == stamp
    assert stamp.has_offset == ("+" in text)


def test_a_date_alone_has_no_clock() -> None:
    assert parse_datetime("20240102") == Stamp(date(2024, 1, 2))


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.text(max_size=30), st.text("0123456789.:+- ", max_size=30))
def test_no_text_raises(text: str, digits: str) -> None:
    for value in (text, digits):
        for zone in (timedelta(hours=14), timedelta(hours=-12), None):
            parse_datetime(value).in_zone(zone)
        parse_date(value), parse_clock(value), parse_zone(value)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(-720, 840))
def test_what_is_written_is_read(moment: datetime, minutes: int) -> None:
    sign, ahead = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{moment:%Y%m%d%H%M%S.%f}{sign}{ahead // 60:02d}{ahead % 60:02d}"
    utc = parse_datetime(text).in_zone(timedelta(0))
    assert utc.clock is not None
    assert utc.day is not None
    assert datetime.combine(utc.day, utc.clock.time) == moment - timedelta(minutes=minutes)
