"""SUV factors: published ones of real headers, and closed forms for each rule."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petdiff.errors import InputRefused, SUVRefused
from petdiff.suv.half_life import average_rate_time_s
from petdiff.suv.header import (
    GE_SCAN_DATETIME,
    PHILIPS_BQML_FACTOR,
    PHILIPS_SUV_FACTOR,
    SliceHeader,
)
from petdiff.suv.result import SUVResult, explain
from petdiff.suv.rules import suv_from_headers

# Published with the header sets (cornerstonejs/calculate-suv).
KNOWN_FACTORS = {
    "SIEMENS": 0.00042748316187197236,
    "GE_MEDICAL_AND_BQML": 0.0005367387681819742,
    "PHILIPS_BQML": 0.0007463747013889488,
    "PHILIPS_CNTS_AND_SUV": 0.000728,
    "CPS_AND_BQML_AC_DT_-_S_DT": 0.00026503312764157046,
    "RADIOPHARM_DATETIME_UNDEFINED": 0.0003721089202818729,
}

HALF_LIFE_S = 6600.0
SCAN = {
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ["ATTN", "DECY"],
    "PatientWeight": 70,
    "PatientSize": 1.75,
    "PatientSex": "M",
    "RadionuclideTotalDose": 3.5e8,
    "RadionuclideHalfLife": HALF_LIFE_S,
    "RadiopharmaceuticalStartDateTime": "20240102090000",
    "SeriesDate": "20240102",
    "SeriesTime": "105000",  # one half-life after injection
    "AcquisitionDate": "20240102",
    "AcquisitionTime": "105000",
}


def suv(*overrides: dict[str, Any], **changes: Any) -> SUVResult:
    """The factor of a series of one slice an override, each on top of SCAN."""
    return suv_from_headers(
        [SliceHeader.from_fields({**SCAN, **changes, **o}) for o in overrides or ({},)]
    )


@pytest.mark.real
@pytest.mark.parametrize(("name", "factor"), KNOWN_FACTORS.items())
def test_published_factors_of_real_headers(test_data: Path, name: str, factor: float) -> None:
    slices = json.loads((test_data / "suv_headers" / f"{name}-instances.json").read_text())
    for fields in slices:
        private = fields.pop("PhilipsPETPrivateGroup")
        fields[PHILIPS_SUV_FACTOR] = private.get("SUVScaleFactor")
        fields[PHILIPS_BQML_FACTOR] = private.get("ActivityConcentrationScaleFactor")
    result = suv_from_headers([SliceHeader.from_fields(fields) for fields in slices])
    assert result.factor == pytest.approx(factor, rel=1e-4)
    json.dumps(result.as_dict())


def test_one_half_life_doubles_the_factor() -> None:
    result = suv()
    assert result.factor == pytest.approx(2 * 70_000 / 3.5e8)
    assert (result.rule, result.spread, result.warnings) == ("series time", 0.0, ())


def test_admin_needs_no_clock() -> None:
    result = suv(DecayCorrection="ADMIN", RadiopharmaceuticalStartDateTime=None, SeriesTime=None)
    assert result.factor == pytest.approx(70_000 / 3.5e8)


def test_later_bed_has_the_factor_of_the_first() -> None:
    assert isinstance(suv({}, {"AcquisitionTime": "112000"}).factor, float)


def test_uncorrected_slices_each_get_their_own_factor() -> None:
    """A constant activity, decaying, gives the same SUV from whichever bed it is measured in."""
    beds = [("105000", 60.0), ("110500", 600.0)]
    activity_at_injection, decay_rate = 1000.0, math.log(2) / HALF_LIFE_S
    result = suv(
        *({"AcquisitionTime": t, "ActualFrameDuration": 1000 * d} for t, d in beds),
        DecayCorrection="NONE",
        CorrectedImage=["ATTN"],
    )
    starts_s = np.array([6600.0, 7500.0])
    times_s = [np.linspace(s, s + d, 100_001) for s, (_, d) in zip(starts_s, beds, strict=True)]
    measured = [np.trapezoid(np.exp(-decay_rate * t), t) / np.ptp(t) for t in times_s]
    suv_values = activity_at_injection * np.array(measured) * result.factor
    np.testing.assert_allclose(suv_values, activity_at_injection * 70_000 / 3.5e8, rtol=1e-9)


def test_a_header_that_contradicts_itself_about_decay_is_doubted() -> None:
    """The second bed, 30 minutes later, is either uncorrected or corrected like the first."""
    beds, once = ({}, {"AcquisitionTime": "112000"}), {"ActualFrameDuration": 1}
    result = suv(*beds, **once, DecayCorrection="NONE", CorrectedImage=["ATTN", "DECY"])
    sound = suv(*beds, **once, DecayCorrection="NONE", CorrectedImage=["ATTN"])
    np.testing.assert_array_equal(result.factor, sound.factor)
    assert (sound.spread, sound.warnings) == (0, ())
    # The median over slices: half a bed's decay, of 1800 s.
    middle = (1 + 2 ** (1800 / HALF_LIFE_S)) / 2
    assert result.spread == pytest.approx(1 - 1 / middle, rel=1e-5)
    contradiction, difference = result.warnings
    assert "has DECY, and DecayCorrection (0054,1102) is NONE" in contradiction
    assert "uncorrected gives 0.000441" in difference
    assert result.inputs["times"] == "ambiguous"


def test_average_rate_time_is_where_the_rate_equals_its_mean() -> None:
    duration_s, decay_rate = 1800.0, math.log(2) / HALF_LIFE_S
    t = np.linspace(0, duration_s, 1_000_001)
    mean_rate = np.trapezoid(np.exp(-decay_rate * t), t) / duration_s
    at = average_rate_time_s(duration_s, HALF_LIFE_S)
    assert math.exp(-decay_rate * at) == pytest.approx(mean_rate, rel=1e-9)


def test_late_series_time_gives_way_to_the_frames_clock() -> None:
    """A series time after the first slice is another process's; the frames still know the start."""
    mean_moment_s = average_rate_time_s(600, HALF_LIFE_S)
    beds = [
        {"AcquisitionTime": "110000", "FrameReferenceTime": 1000 * (600 + mean_moment_s)},
        {"AcquisitionTime": "111000", "FrameReferenceTime": 1000 * (1200 + mean_moment_s)},
    ]
    result = suv(*beds, SeriesTime="153000", ActualFrameDuration=600_000)
    assert result.rule == "frame reference time"
    assert result.factor == pytest.approx(2 * 70_000 / 3.5e8)


@pytest.mark.parametrize("since_start_s", [(0, 0, 0), (0, 600, 900)])
def test_frames_that_disagree_are_no_clock(since_start_s: tuple[int, ...]) -> None:
    """Each frame counts from its own start, or one of three by other minutes than its clock."""
    middle_s = average_rate_time_s(600, HALF_LIFE_S)
    beds = [
        {"AcquisitionTime": clock, "FrameReferenceTime": 1000 * (seconds + middle_s)}
        for clock, seconds in zip(("110000", "111000", "112000"), since_start_s, strict=True)
    ]
    result = suv(*beds, SeriesTime="153000", ActualFrameDuration=6e5)
    assert result.rule == "earliest acquisition"
    assert result.warnings


def test_ge_keeps_its_own_time() -> None:
    """It counts before the frames' clock, and the earliest of all slices counts."""
    written = [{GE_SCAN_DATETIME: f"20240102{clock}.00"} for clock in ("105000", "111000")]
    frame_s = 600 + average_rate_time_s(600, HALF_LIFE_S)  # would be corrected to 10:40
    frames = {"ActualFrameDuration": 600_000, "FrameReferenceTime": 1000 * frame_s}
    result = suv(*written, SeriesTime="153000", **frames)
    assert result.rule == "GE scan time"
    assert result.candidates["frame reference time"] < result.factor
    assert result.factor == pytest.approx(2 * 70_000 / 3.5e8)


def test_rules_that_differ_are_reported() -> None:
    result = suv(FrameReferenceTime=660_000, ActualFrameDuration=1)
    assert result.candidates["frame reference time"] == pytest.approx(
        result.factor * 2**-0.1, rel=1e-6
    )
    assert result.spread == pytest.approx(1 - 2**-0.1, rel=1e-4)
    assert "differ" in result.warnings[0]
    assert "frame reference time" in explain(result)


@pytest.mark.parametrize(
    "changes",
    [
        {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "090000.00"},
        {"SeriesDate": None, "AcquisitionDate": None},
        {"SeriesTime": "10:50:00", "SeriesDate": "2024.01.02"},
        {"CorrectedImage": "DECY\\ATTN"},
    ],
)
def test_odd_headers_give_the_same_factor(changes: dict[str, Any]) -> None:
    assert suv(**changes).factor == pytest.approx(2 * 70_000 / 3.5e8)


def test_counts_by_the_philips_factors() -> None:
    assert suv(Units="CNTS", **{PHILIPS_SUV_FACTOR: "0.0005 "}).factor == 0.0005
    by_activity = suv(Units="CNTS", **{PHILIPS_SUV_FACTOR: 0, PHILIPS_BQML_FACTOR: 3})
    assert by_activity.factor == pytest.approx(3 * suv().factor)
    assert suv(**{PHILIPS_SUV_FACTOR: 0.1}).factor == suv().factor  # Units BQML ignores it


def test_each_slice_has_its_own_philips_factors() -> None:
    for keyword, one in ((PHILIPS_SUV_FACTOR, 1.0), (PHILIPS_BQML_FACTOR, suv().factor)):
        found = suv({keyword: 1}, {keyword: 3}, Units="CNTS")
        np.testing.assert_allclose(found.factor, [one, 3 * one])
    with pytest.raises(SUVRefused, match="neither the factor to SUV"):
        suv({PHILIPS_SUV_FACTOR: 1}, {}, Units="CNTS")


def test_the_two_philips_factors_are_compared() -> None:
    same = suv(Units="CNTS", **{PHILIPS_SUV_FACTOR: 3 * suv().factor, PHILIPS_BQML_FACTOR: 3})
    assert not same.warnings
    other = suv(Units="CNTS", **{PHILIPS_SUV_FACTOR: 3.3 * suv().factor, PHILIPS_BQML_FACTOR: 3})
    assert other.factor == pytest.approx(3.3 * suv().factor)
    assert other.spread == pytest.approx(1 - 1 / 1.1)
    assert "9.1%" in other.warnings[0]
    alone = suv(Units="CNTS", PatientWeight=None, **{PHILIPS_SUV_FACTOR: 1, PHILIPS_BQML_FACTOR: 3})
    assert (alone.factor, alone.warnings) == (1, ())


def test_lean_mass_of_an_unknown_sex_says_by_how_much_it_may_be_off() -> None:
    unknown = suv(Units="GML", SUVType="LBMJANMA", PatientSex="O")
    sexes = [suv(Units="GML", SUVType="LBMJANMA", PatientSex=sex).factor for sex in "MF"]
    largest = max(abs(factor / unknown.factor - 1) for factor in sexes)
    assert unknown.spread == pytest.approx(largest)
    assert f"{largest:.1%}" in unknown.warnings[0]
    assert not suv(Units="CM2ML", PatientSex="O").warnings


def test_counts_per_second_by_voxel_or_calibration() -> None:
    voxel = {"PixelSpacing": [4.0, 4.0], "SliceThickness": 3.0, "DoseCalibrationFactor": 7}
    per_voxel = suv(Units="CPS", CorrectedImage=["ATTN", "DECY", "DCAL"], **voxel)
    assert per_voxel.factor == pytest.approx(suv().factor / 0.048)
    assert suv(Units="CPS", **voxel).factor == pytest.approx(7 * suv().factor)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "SliceThickness"])
def test_calibrated_counts_of_voxels_of_unknown_size_are_not_calibrated_again(keyword: str) -> None:
    voxel = {"PixelSpacing": [4.0, 4.0], "SliceThickness": 3.0, "DoseCalibrationFactor": 7}
    for value in (None, "", 0):
        with pytest.raises(SUVRefused, match=r"CPS, calibrated per voxel.* is absent"):
            suv(Units="CPS", CorrectedImage=["ATTN", "DECY", "DCAL"], **voxel | {keyword: value})


@pytest.mark.parametrize(
    ("units", "suv_type", "of_man", "of_woman"),
    [
        ("GML", "", 70.0, 70.0),
        ("GML", "BW", 70.0, 70.0),
        ("GML", "LBM", 1.10 * 70 - 120 * 0.16, 1.07 * 70 - 148 * 0.16),
        ("GML", "LBMJAMES128", 1.10 * 70 - 128 * 0.16, 1.07 * 70 - 148 * 0.16),
        (
            "GML",
            "LBMJANMA",
            9270 * 70 / (6680 + 216 * 70 / 1.75**2),
            9270 * 70 / (8780 + 244 * 70 / 1.75**2),
        ),
        ("GML", "IBW", 48 + 1.06 * 23, 45.5 + 0.91 * 23),
        ("CM2ML", "", 18.48, 18.48),  # Du Bois: 1.848 m² for 70 kg and 1.75 m
    ],
)
def test_stored_suv_of_other_kinds(
    units: str, suv_type: str, of_man: float, of_woman: float
) -> None:
    """The formulas of DICOM PS3.16, CID 85, for 70 kg and 1.75 m."""
    for sex, body in (("M", of_man), ("F", of_woman)):
        for size in (1.75, 175):  # metres, and centimetres by mistake
            found = suv(Units=units, SUVType=suv_type, PatientSex=sex, PatientSize=size)
            assert found.factor == pytest.approx(70 / body, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"Units": "PROPCNTS"}, "PROPCNTS"),
        ({"Units": "PROPCPS"}, "PROPCPS"),
        ({"Units": "1CM"}, "1CM"),
        ({"Units": None}, "Units"),
        ({"Units": "CNTS"}, "7053,1000"),
        ({"Units": "CPS"}, "DoseCalibrationFactor"),
        ({"Units": "GML", "SUVType": "XYZ"}, "SUVType"),
        ({"Units": "CM2ML", "PatientSize": None}, "PatientSize"),
        ({"PatientWeight": None}, "PatientWeight"),
        ({"PatientWeight": 0}, "PatientWeight"),
        ({"PatientWeight": 2e6}, "PatientWeight"),  # two tons
        ({"RadionuclideTotalDose": 2e12}, "RadionuclideTotalDose"),  # 2 TBq
        ({"RadionuclideTotalDose": 370_000}, "RadionuclideTotalDose"),  # kBq
        ({"RadionuclideTotalDose": ""}, "RadionuclideTotalDose"),
        ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife"),
        ({"RadiopharmaceuticalStartDateTime": None}, "RadiopharmaceuticalStartTime"),
        ({"RadiopharmaceuticalStartDateTime": "20240102130000"}, "half-lives"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "AcquisitionTime"),
        ({"DecayCorrection": None}, "DecayCorrection"),
        ({"DecayCorrection": "NONE"}, "ActualFrameDuration"),
        ({"CorrectedImage": ["ATTN"]}, "DECY"),
        ({"CorrectedImage": None}, "ATTN"),
        ({"RescaleIntercept": -5}, "RescaleIntercept"),
    ],
)
def test_refuses_by_name_and_offers_a_way_out(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputRefused, match=named) as refusal:
        suv(**changes)
    assert "`suv_factor`" in str(refusal.value)


@pytest.mark.parametrize(
    ("keyword", "one", "other"),
    [
        ("Units", "BQML", "CNTS"),
        ("SUVType", "BW", "LBM"),
        ("DecayCorrection", "START", "ADMIN"),
        ("PatientWeight", 70, 71),
        ("RadionuclideTotalDose", 3.5e8, 3.6e8),
        ("RadionuclideHalfLife", 6600, 6586),
        ("RadiopharmaceuticalStartDateTime", "20240102090000", "20240103090000"),
        ("RadiopharmaceuticalStartTime", "090000", "091000"),
        ("TimezoneOffsetFromUTC", "+0100", "+0200"),
    ],
)
def test_refuses_slices_of_two_calibrations(keyword: str, one: Any, other: Any) -> None:
    assert isinstance(suv({keyword: one}, {keyword: one}).factor, float)
    with pytest.raises(InputRefused, match=f"{keyword}.* is not the same"):
        suv({keyword: one}, {keyword: other})


@pytest.mark.parametrize("slices", [({}, {"Units": None}), ({"Units": None}, {})])
def test_a_slice_that_lacks_what_another_has_may_be_truncated(slices: Any) -> None:
    with pytest.raises(InputRefused, match=r"lacks Units .* truncated") as refusal:
        suv(*slices)
    assert "`suv_factor`" not in str(refusal.value)
