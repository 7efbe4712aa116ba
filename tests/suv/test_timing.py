"""Header times as one story: each way that dates, clocks and zones go wrong, by name.

The scan is at 10:00, one hour after the injection, unless a test says otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from petdiff.errors import InputRefused, SUVRefused
from petdiff.suv.half_life import average_rate_time_s
from petdiff.suv.header import GE_SCAN_DATETIME, SliceHeader
from petdiff.suv.result import SUVResult
from petdiff.suv.rules import suv_from_headers

F18_S, ZR89_S = 6586.2, 282_276.0
SCAN = {
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ["ATTN", "DECY"],
    "PatientWeight": 70,
    "RadionuclideTotalDose": 3.5e8,
    "RadionuclideHalfLife": F18_S,
    "RadiopharmaceuticalStartDateTime": "20240102090000",
    "RadiopharmaceuticalStartTime": "090000",
    "StudyDate": "20240102",
    "SeriesDate": "20240102",
    "SeriesTime": "100000",
    "AcquisitionDate": "20240102",
    "AcquisitionTime": "100000",
    "FrameReferenceTime": 0,
    "ActualFrameDuration": 120_000,
}
ZR89 = {
    "RadionuclideHalfLife": ZR89_S,
    "RadionuclideTotalDose": 3.7e7,
    "StudyDate": "20240106",
    "SeriesDate": "20240106",
    "AcquisitionDate": "20240106",
}


def suv(*slices: dict[str, Any], **changes: Any) -> SUVResult:
    return suv_from_headers(
        [SliceHeader.from_fields({**SCAN, **changes, **s}) for s in slices or ({},)]
    )


def _injected(clock: str) -> dict[str, str]:
    return {
        "RadiopharmaceuticalStartDateTime": f"20240102{clock}",
        "RadiopharmaceuticalStartTime": clock,
    }


def factor(elapsed_s: float, half_life_s: float = F18_S, dose_bq: float = 3.5e8) -> Any:
    """The true factor for a reference so long after the injection."""
    return pytest.approx(70_000 / (dose_bq * 2 ** (-elapsed_s / half_life_s)), rel=1e-4)


def test_a_consistent_header_gives_no_warning() -> None:
    result = suv()
    assert result.factor == factor(3600)
    assert (result.spread, result.warnings) == (0.0, ())
    assert result.inputs["times"] == "consistent"


@pytest.mark.parametrize("day", ["20190115", "20231010", "20240101", "20240103", "20310101"])
@pytest.mark.parametrize(
    "moved",
    [
        ("StudyDate", "SeriesDate"),
        ("AcquisitionDate",),
        ("StudyDate", "SeriesDate", "AcquisitionDate"),
    ],
)
@pytest.mark.parametrize("half_life_s", [122.24, 1223.4, F18_S])
def test_dates_that_an_anonymiser_moved_are_replaced_by_clock_times(
    day: str, moved: tuple[str, ...], half_life_s: float
) -> None:
    elapsed_s = 5 * 60 if half_life_s < 1000 else 3600
    given = "095500" if half_life_s < 1000 else "090000"
    result = suv(
        **dict.fromkeys(moved, day),
        RadionuclideHalfLife=half_life_s,
        RadiopharmaceuticalStartDateTime=f"20240102{given}",
        RadiopharmaceuticalStartTime=given,
    )
    assert result.factor == factor(elapsed_s, half_life_s)
    assert result.warnings


@pytest.mark.parametrize("day", ["20190115", "20240101", "20240103"])
def test_a_moved_date_of_the_injection_is_replaced_by_its_time(day: str) -> None:
    result = suv(RadiopharmaceuticalStartDateTime=f"{day}090000")
    assert result.factor == factor(3600)
    assert "0018,1078" in result.warnings[0]


@pytest.mark.parametrize("moved", ["SeriesDate", "AcquisitionDate"])
@pytest.mark.parametrize("day", ["20240105", "20240107", "20240209"])
def test_a_long_lived_nuclide_on_contradicting_dates_is_doubted_or_refused(
    moved: str, day: str
) -> None:
    try:
        result = suv(**{**ZR89, moved: day})
    except InputRefused:
        return
    assert result.warnings


def test_a_long_lived_nuclide_needs_the_date_of_its_injection() -> None:
    assert suv(**ZR89).factor == factor(4 * 86_400 + 3600, ZR89_S, 3.7e7)
    for missing in (None, "", "00010102090000"):
        with pytest.raises(SUVRefused, match=r"0018,1078.* 78\.4 h"):
            suv(**ZR89, RadiopharmaceuticalStartDateTime=missing)


def test_a_long_lived_nuclide_needs_the_date_of_the_scan() -> None:
    with pytest.raises(SUVRefused, match="day of the scan"):
        suv(**ZR89 | dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate")))
    # With a date less, the injection on 2 January would be later; a month before, too early.
    for given in ("20240102", "20231211"):
        undated = ZR89 | {"AcquisitionDate": None}
        found = suv(**undated, RadiopharmaceuticalStartDateTime=f"{given}090000")
        assert "day more or less" in found.warnings[0]


def test_without_its_own_date_a_slice_has_that_of_the_series_and_then_of_the_study() -> None:
    undated = ZR89 | {"AcquisitionDate": None, "SeriesTime": None}
    for dates in (
        {"SeriesDate": "20240106", "StudyDate": "20240105"},
        {"SeriesDate": None, "StudyDate": "20240106"},
    ):
        assert suv(**undated | dates).factor == factor(4 * 86_400 + 3600, ZR89_S, 3.7e7)


def test_the_date_of_a_long_lived_nuclide_is_not_repaired() -> None:
    for day in ("20230102", "20240107"):
        with pytest.raises(SUVRefused, match="does not fit"):
            suv(**ZR89, RadiopharmaceuticalStartDateTime=f"{day}090000")


def test_a_date_and_a_separate_time_make_a_full_date() -> None:
    result = suv(**ZR89, RadiopharmaceuticalStartDateTime="20240102")
    assert result.factor == factor(4 * 86_400 + 3600, ZR89_S, 3.7e7)


@pytest.mark.parametrize("half_life_s", [14_551.0, 40_000.0])
def test_a_time_alone_that_fits_two_days_is_doubted(half_life_s: float) -> None:
    result = suv(RadionuclideHalfLife=half_life_s, RadiopharmaceuticalStartDateTime=None)
    assert result.factor == factor(3600, half_life_s)
    assert result.spread > 1
    assert "differ by" in result.warnings[-1]


@pytest.mark.parametrize(("half_life_s", "needed"), [(41_399.0, False), (41_400.0, True)])
def test_the_date_matters_from_a_half_life_of_11_5_hours_on(
    half_life_s: float, needed: bool
) -> None:
    """IBSI manual for SUV computation."""
    header = {"RadionuclideHalfLife": half_life_s, "RadiopharmaceuticalStartDateTime": None}
    if not needed:
        assert suv(**header).factor == factor(3600, half_life_s)
        return
    with pytest.raises(SUVRefused, match="gives no date"):
        suv(**header)


@pytest.mark.parametrize(("given", "half_lives"), [("071855", 7.9), ("070641", 8.5)])
def test_no_scan_is_more_than_eight_half_lives_after_the_injection(
    given: str, half_lives: float
) -> None:
    """C-11 of 1223.4 s."""
    header = {
        "RadionuclideHalfLife": 1223.4,
        "RadiopharmaceuticalStartDateTime": f"20240102{given}",
        "RadiopharmaceuticalStartTime": given,
    }
    if half_lives < 8:
        assert suv(**header).factor == pytest.approx(0.0002 * 2**half_lives, rel=0.001)
        return
    with pytest.raises(SUVRefused, match="8 half-lives"):
        suv(**header)


def test_a_time_alone_is_before_the_scan_if_it_can_be() -> None:
    """At 10:01 of the day before, or in the frame of two minutes that begins at 10:00."""
    result = suv(
        RadionuclideHalfLife=14_551.0,
        RadiopharmaceuticalStartDateTime=None,
        RadiopharmaceuticalStartTime="100100",
    )
    assert result.factor == factor(86_340, 14_551.0)
    assert "differ by" in result.warnings[-1]
    midnight = suv(
        SeriesTime="235930",
        AcquisitionTime="235930",
        RadiopharmaceuticalStartDateTime=None,
        RadiopharmaceuticalStartTime="000000",
    )
    assert midnight.factor == factor(-30)


@pytest.mark.parametrize(("opened", "share"), [("095913", None), ("095738", "1.5%")])
def test_readings_that_differ_by_more_than_one_per_cent_are_reported(
    opened: str, share: str | None
) -> None:
    """47 s are 0.5 % of F-18, 142 s are 1.5 %."""
    warnings = suv(SeriesTime=opened).warnings
    assert [share in w for w in warnings] == [True] if share else not warnings


def frame_of_dynamic_scan(begin: str, **changes: Any) -> SUVResult:
    """The frame from 50 to 60 min of a scan that begins at `begin`; injection at 10:00."""
    middle_s = average_rate_time_s(600, F18_S)
    reference_s = (49 * 60 + 30) - (int(begin[2:4]) - 60) * 60 - int(begin[4:]) + middle_s
    return suv(
        SeriesTime=begin,
        AcquisitionTime="104930",
        FrameReferenceTime=1000 * reference_s,
        ActualFrameDuration=600_000,
        RadiopharmaceuticalStartDateTime="20240102100000",
        RadiopharmaceuticalStartTime="100000",
        **changes,
    )


@pytest.mark.parametrize(("begin", "elapsed_s"), [("095930", -30), ("095500", -300)])
def test_a_dynamic_scan_may_begin_before_the_injection(begin: str, elapsed_s: float) -> None:
    result = frame_of_dynamic_scan(begin)
    assert result.factor == factor(elapsed_s)
    assert not result.warnings


def test_a_scan_that_begins_more_than_an_hour_before_the_injection_is_refused() -> None:
    middle_s = average_rate_time_s(600, F18_S)
    with pytest.raises(SUVRefused, match="FrameReferenceTime"):
        suv(
            SeriesTime="083000",
            AcquisitionTime="104930",
            FrameReferenceTime=1000 * (2 * 3600 + 19 * 60 + 30 + middle_s),
            ActualFrameDuration=600_000,
            RadiopharmaceuticalStartDateTime="20240102100000",
            RadiopharmaceuticalStartTime="100000",
        )


def test_a_scan_that_ends_before_the_injection_is_refused() -> None:
    with pytest.raises(SUVRefused, match="does not fit the scan"):
        suv(RadiopharmaceuticalStartDateTime="20240102100300", RadiopharmaceuticalStartTime=None)


def test_a_dynamic_scan_whose_injection_is_in_a_later_frame_is_doubted() -> None:
    frames = ({}, {"AcquisitionTime": "100500"})  # two minutes each
    result = suv(*frames, **_injected("100300"))
    assert result.factor == factor(-180)
    assert "the start of the scan" in result.warnings[0]


def test_a_static_scan_that_begins_before_the_injection_is_doubted() -> None:
    result = suv(
        RadiopharmaceuticalStartDateTime="20240102100030",
        RadiopharmaceuticalStartTime="100030",
    )
    assert result.factor == factor(-30)
    assert "the start of the scan" in result.warnings[0]


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("20240102080000.000000+0000", "+0100"),
        ("20240102140000.000000+0000", "-0500"),
        ("20240102123000+0000", "-0330"),
        ("20240101230000+0000", "+1000"),
        ("20240102170000+0800", "+0000"),
        ("20240102090000-0500", "-0500"),
    ],
)
def test_the_injection_in_another_time_zone(written: str, zone: str) -> None:
    for clock in ("090000", None):
        result = suv(
            RadiopharmaceuticalStartDateTime=written,
            TimezoneOffsetFromUTC=zone,
            RadiopharmaceuticalStartTime=clock,
        )
        assert result.factor == factor(3600)
        assert not result.warnings


@pytest.mark.parametrize(
    "written",
    [
        "20240102080000+0000",
        "20240102140000+0000",
        "20240102033000+0000",  # the scanner's zone is +05:30
        "20240101220000+0000",  # and +11:00
    ],
)
def test_the_time_beside_it_tells_the_scanners_zone(written: str) -> None:
    result = suv(RadiopharmaceuticalStartDateTime=written)
    assert result.factor == factor(3600)
    assert "differ by" in result.warnings[0]


def test_a_wrong_offset_beside_the_right_time_of_day_is_not_used() -> None:
    result = suv(
        RadiopharmaceuticalStartDateTime="20240102090000+0000", TimezoneOffsetFromUTC="-0500"
    )
    assert result.factor == factor(3600)
    assert "differ by 5:00:00" in result.warnings[0]


def test_times_of_the_scan_are_moved_to_the_zone_of_the_header() -> None:
    for written in (
        {GE_SCAN_DATETIME: "20240102090000.00+0000", "SeriesTime": "153000"},
        {
            "AcquisitionDate": None,
            "AcquisitionTime": None,
            "AcquisitionDateTime": "20240102090000.00+0000",
        },
    ):
        result = suv(TimezoneOffsetFromUTC="+0100", **written)
        assert (result.factor, result.spread) == (factor(3600), 0)


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        (
            {
                "RadiopharmaceuticalStartDateTime": "20240102090000+0000",
                "RadiopharmaceuticalStartTime": None,
            },
            "0018,1078",
        ),
        ({GE_SCAN_DATETIME: "20240102100000+0000"}, "0009,100D"),
        ({"AcquisitionTime": None, "AcquisitionDateTime": "20240102100000+0000"}, "0008,002A"),
    ],
)
def test_an_offset_without_the_scanners_zone_is_doubted(written: dict[str, Any], tag: str) -> None:
    result = suv(**written)
    assert result.factor == factor(3600)
    (warning,) = result.warnings
    assert all(part in warning for part in (tag, "0008,0201", "46.1%"))


def test_a_start_of_the_scan_that_no_slice_confirms_is_doubted() -> None:
    result = suv(AcquisitionTime=None)
    assert result.factor == factor(3600)
    assert "no slice has an AcquisitionTime (0008,0032)" in result.warnings[-1]


@pytest.mark.parametrize("offset", ["+9900", "-2401", "+0160x", "UTC"])
def test_offsets_that_cannot_be_are_no_exception(offset: str) -> None:
    written = f"20240102090000{offset if offset[0] in '+-' else ''}"
    result = suv(RadiopharmaceuticalStartDateTime=written, TimezoneOffsetFromUTC=offset)
    assert result.factor == factor(3600)


def test_two_times_of_injection_that_differ_are_doubted() -> None:
    result = suv(RadiopharmaceuticalStartTime="083000")
    assert result.factor == factor(3600)
    assert result.spread == pytest.approx(2 ** (1800 / F18_S) - 1)
    assert "20.9%" in result.warnings[-1]


@pytest.mark.parametrize(
    ("written", "clock"),
    [
        ("2024010209", "090000"),
        ("202401020900", "090000"),
        ("20240102090000", "0900"),
        ("20240102090000", "09"),
        ("20240102090030", "090000"),
    ],
)
def test_two_times_of_one_moment_are_not_doubted(written: str, clock: str) -> None:
    """The finer of the two counts; half a minute is 0.3 % of F-18."""
    result = suv(RadiopharmaceuticalStartDateTime=written, RadiopharmaceuticalStartTime=clock)
    assert result.factor == pytest.approx(factor(3600).expected, rel=0.004)
    assert not result.warnings


def beds(*clocks: str, **changes: Any) -> SUVResult:
    return suv(*({"AcquisitionTime": clock} for clock in clocks), **changes)


@pytest.mark.parametrize("day", ["20240102", None])
def test_midnight_between_beds(day: str | None) -> None:
    result = beds(
        "235000", "235500", "000000", "000500",
        SeriesTime="235000", AcquisitionDate=day,
        RadiopharmaceuticalStartDateTime="20240102225000",
        RadiopharmaceuticalStartTime="225000",
    )  # fmt: skip
    assert result.factor == factor(3600)


def test_midnight_between_beds_with_right_dates_is_no_reason_to_warn() -> None:
    result = suv(
        {"AcquisitionTime": "235500"},
        {"AcquisitionTime": "000500", "AcquisitionDate": "20240103"},
        SeriesTime="235500",
        RadiopharmaceuticalStartDateTime="20240102225500",
        RadiopharmaceuticalStartTime="225500",
    )
    assert result.factor == factor(3600)
    assert not result.warnings


@pytest.mark.parametrize("written", ["20240102231000", "20240103231000", None])
def test_injection_before_midnight_and_scan_after(written: str | None) -> None:
    """The second date is the scan's, put before the injection's time of day."""
    result = suv(
        **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate"), "20240103"),
        SeriesTime="001000",
        AcquisitionTime="001000",
        RadiopharmaceuticalStartDateTime=written,
        RadiopharmaceuticalStartTime="231000",
    )
    assert result.factor == factor(3600)
    assert bool(result.warnings) == (written == "20240103231000")


def test_slices_with_dates_years_apart_follow_their_clocks() -> None:
    result = suv({}, {"AcquisitionTime": "100200", "AcquisitionDate": "20210102"})
    assert result.factor == factor(3600)
    assert result.warnings


def test_slices_whose_clocks_cover_a_day_are_refused() -> None:
    with pytest.raises(SUVRefused, match="12 h"):
        beds("010000", "090000", "170000")


def test_a_series_time_of_the_technologist_is_doubted() -> None:
    result = suv(SeriesTime="092000")
    assert "28.7%" in result.warnings[-1]
    assert result.candidates["earliest acquisition"] == factor(3600)


def test_a_series_without_a_date_opens_in_the_six_hours_before_its_first_slice() -> None:
    undated = {"SeriesDate": None}
    before = suv(**undated, SeriesTime="060000", **_injected("050000"))
    assert (before.rule, before.factor) == ("series time", factor(3600))
    after = suv(**undated, SeriesTime="110000")  # a reconstruction
    assert (after.rule, after.factor) == ("earliest acquisition", factor(3600))


def test_a_pair_of_times_that_cannot_both_be_is_no_reading() -> None:
    """The series opened at 08:20, which fits an injection at 09:00, but not the one at 09:30."""
    result = suv(SeriesTime="082000", RadiopharmaceuticalStartTime="093000")
    assert result.factor == factor(3600)
    assert result.spread == pytest.approx(1 - 2 ** (-6000 / F18_S))


def test_differences_of_the_scan_and_of_the_injection_add_up() -> None:
    """The scan started at 09:40 or 10:00, and the injection was at 09:00 or 08:30."""
    result = suv(SeriesTime="094000", RadiopharmaceuticalStartTime="083000")
    assert result.factor == factor(2400)
    assert result.spread == pytest.approx(2 ** ((1200 + 1800) / F18_S) - 1)
    assert len(result.candidates) == 4  # each of the other times, and both together


def test_a_series_time_before_the_injection_is_not_used() -> None:
    """The technologist opened the series before the tracer was given."""
    for opened in ("070000", "084500"):
        result = suv(SeriesTime=opened)
        assert result.factor == factor(3600)
        assert result.warnings


def test_ge_own_time_and_a_series_time_that_differ_are_doubted() -> None:
    result = suv(SeriesTime="092000", **{GE_SCAN_DATETIME: "20240102100000.00"})
    assert result.candidates["GE scan time"] == factor(3600)
    assert "28.7%" in result.warnings[-1]


@pytest.mark.parametrize("day", ["20190102", "20240103"])
def test_ge_own_time_with_a_moved_date_keeps_its_clock(day: str) -> None:
    result = suv(SeriesTime="153000", **{GE_SCAN_DATETIME: f"{day}100000.00"})
    assert (result.rule, result.factor) == ("GE scan time", factor(3600))
    assert "0009,100D" in result.warnings[0]


def test_a_ge_time_that_cannot_be_is_refused_where_nothing_else_states_it() -> None:
    with pytest.raises(SUVRefused, match="GE's scan time"):
        suv(SeriesTime="153000", **{GE_SCAN_DATETIME: "20240102073000.00"})


def test_a_ge_time_after_the_first_slice_is_doubted() -> None:
    result = suv(SeriesTime="153000", **{GE_SCAN_DATETIME: "20240102103000.00"})
    assert (result.rule, result.factor) == ("GE scan time", factor(5400))
    assert result.spread == pytest.approx(1 - 2 ** (-1800 / F18_S))


@pytest.mark.parametrize(("clock", "spread"), [("092000", 1 - 2 ** (-2400 / F18_S)), ("110000", 0)])
@pytest.mark.parametrize("frame_s", [0, average_rate_time_s(120, F18_S)])
def test_a_reconstruction_days_later_is_not_the_scan(
    clock: str, spread: float, frame_s: float
) -> None:
    """Its time of day may be that of the scan, with a wrong date, if it is before the scan."""
    result = suv(SeriesDate="20240109", SeriesTime=clock, FrameReferenceTime=1000 * frame_s)
    assert result.factor == factor(3600)
    assert result.spread == pytest.approx(spread)


def test_a_frame_that_counts_from_after_its_own_start_is_no_clock() -> None:
    """30 s after the start of a frame of 10 minutes is rounding, but not for O-15."""
    frame_s = average_rate_time_s(600, 122.24) - 30
    result = suv(
        RadionuclideHalfLife=122.24,
        SeriesTime="153000",
        ActualFrameDuration=600_000,
        FrameReferenceTime=1000 * frame_s,
        **_injected("095500"),
    )
    assert (result.rule, result.factor) == ("earliest acquisition", factor(300, 122.24))


def test_uncorrected_values_have_the_doubts_of_the_injection() -> None:
    result = suv(
        DecayCorrection="NONE",
        CorrectedImage=["ATTN"],
        RadiopharmaceuticalStartDateTime="20240101090000",
    )
    within_frame = math.log(2) * 120 / F18_S
    mean = -math.expm1(-within_frame) / within_frame
    assert result.factor == pytest.approx(factor(3600).expected / mean)
    assert "0018,1078" in result.warnings[0]


@pytest.mark.parametrize("keyword", ["FrameReferenceTime", "ActualFrameDuration"])
@pytest.mark.parametrize("value", [1e15, -1e15, 1e300, 1e-300, "nan", "x", -1, 7e7])
def test_absurd_frame_times_are_no_clock(keyword: str, value: Any) -> None:
    frame = {"FrameReferenceTime": 60_000, "ActualFrameDuration": 120_000, keyword: value}
    result = suv(SeriesTime="153000", **frame)
    assert result.factor == factor(3600)
    assert result.warnings


@pytest.mark.parametrize("half_life_s", [0, -1, 1e-300, 1e300, "", "abc", None])
def test_a_half_life_that_cannot_be_is_refused(half_life_s: Any) -> None:
    with pytest.raises(SUVRefused, match="RadionuclideHalfLife"):
        suv(RadionuclideHalfLife=half_life_s)


@pytest.mark.parametrize(
    ("clock", "share"), [("0900", None), ("09", "46.1%")]
)  # a minute is 0.6 % of F-18
def test_a_time_without_minutes_is_doubted(clock: str, share: str | None) -> None:
    result = suv(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime=clock)
    assert result.factor == factor(3600)
    assert [w for w in result.warnings if share and share in w] == list(result.warnings)


def test_numbers_that_were_converted_are_named() -> None:
    for changes, named in (
        ({"PatientWeight": 70_000}, "grams"),
        ({"RadionuclideTotalDose": 350}, "MBq"),
        ({"PatientWeight": "70,0"}, "decimal point"),
        ({"RadionuclideHalfLife": "6586,2"}, "decimal point"),
    ):
        result = suv(**changes)
        assert result.factor == factor(3600)
        assert named in result.warnings[0]
    assert not suv(PatientSize="1,75").warnings


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_intercept_on_any_slice_is_refused(where: int) -> None:
    slices: list[dict[str, Any]] = [{}, {}, {}]
    slices[where] = {"RescaleIntercept": 500_000}
    with pytest.raises(InputRefused, match="RescaleIntercept"):
        suv(*slices)
