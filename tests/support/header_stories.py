"""Generated PET headers: a true story of injection and scan, written down with faults.

A story is drawn first, and its SUV factor follows from it alone. Then it is written as header
fields the way a vendor does, and spoilt the way anonymisers, archives and sites do. Faults that
nobody could notice (a wrong dose, an injection moved by a day of a long-lived nuclide in a header
without any other date) are not among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from petdiff.suv.header import GE_SCAN_DATETIME

Fields = dict[str, Any]

HALF_LIVES_S = {
    "O-15": 122.24,
    "C-11": 1223.4,
    "Ga-68": 4062.6,
    "F-18": 6586.2,
    "Sc-44": 14_551.0,
    "Cu-64": 45_721.0,
    "Zr-89": 282_276.0,
    "I-124": 360_806.0,
}
_LONG_LIVED_S = 41_400
_GARBAGE = ["", " ", "abc", "-", "999999", "1e400", "nan", "\0", "99:99", "-1", "ATTN", 7, [], b"x"]


@dataclass
class Story:
    """What happened, in the scanner's own clock.

    injection  when the tracer was given
    reference  what decay is corrected to with DecayCorrection START: the start of the scan
    starts     of each slice's frame, and how long each lasts
    zone       the scanner's offset from UTC in minutes
    """

    half_life_s: float
    injection: datetime
    reference: datetime
    starts: list[datetime]
    duration_s: float
    zone: int
    weight_kg: float = 70.0
    dose_bq: float = 3.5e8
    correction: str = "START"
    slices: list[Fields] = field(default_factory=list)

    def left(self, slice_index: int) -> float:
        """Return the share of the dose that one slice's stored values refer to."""
        decay_rate = math.log(2) / self.half_life_s
        if self.correction == "ADMIN":
            return 1.0
        if self.correction == "START":
            return math.exp(-decay_rate * (self.reference - self.injection).total_seconds())
        # Not corrected: the mean of the activity over the frame, by the trapezoidal rule.
        begin = (self.starts[slice_index] - self.injection).total_seconds()
        n = 2000
        times = [begin + self.duration_s * k / n for k in range(n + 1)]
        rates = [math.exp(-decay_rate * t) for t in times]
        return (sum(rates) - (rates[0] + rates[-1]) / 2) / n

    def factor(self, slice_index: int) -> float:
        """Return the true factor from a slice's Bq/ml to SUV."""
        return 1000 * self.weight_kg / (self.dose_bq * self.left(slice_index))


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a story and its header, with up to three faults."""
    story = draw(_scans())
    _write(draw, story)
    for fault in draw(st.lists(st.sampled_from(_FAULTS), max_size=3)):
        fault(draw, story)
    return story


@st.composite
def _scans(draw: st.DrawFn) -> Story:
    half_life_s = draw(st.sampled_from(sorted(HALF_LIVES_S.values())))
    reference = datetime(2024, 3, 1) + timedelta(seconds=draw(st.integers(0, 3 * 86_400)))
    longest_s = 4.0 * half_life_s if half_life_s < _LONG_LIVED_S else 7 * 86_400.0
    elapsed_s = draw(st.floats(0, 1)) * longest_s
    duration_s = draw(st.sampled_from([20.0, 60.0, 180.0, 600.0]))
    count = draw(st.integers(1, 5))
    later_s = 0.0
    if draw(st.integers(0, 5)) == 0:  # a frame cut from a dynamic scan that starts before injection
        elapsed_s, later_s = -draw(st.floats(0, 60)), draw(st.floats(120, 2 * half_life_s))
        later_s = min(later_s, 5400.0)
    starts = [reference + timedelta(seconds=round(later_s + n * duration_s)) for n in range(count)]
    return Story(
        half_life_s,
        injection=(reference - timedelta(seconds=elapsed_s)).replace(microsecond=0),
        reference=reference,
        starts=starts,
        duration_s=duration_s,
        zone=draw(st.sampled_from([-600, -300, -60, 0, 60, 120, 330, 540])),
        correction=draw(st.sampled_from(["START", "START", "START", "START", "ADMIN", "NONE"])),
    )


def _write(draw: st.DrawFn, story: Story) -> None:
    """Write the story as each vendor does, without a fault."""
    decayed = ["DECY"] if story.correction != "NONE" else []
    opened = story.reference
    vendor = draw(st.sampled_from(["frames", "ge", "plain"]))
    if vendor == "ge":  # the technologist opens the series during uptake
        opened -= timedelta(minutes=draw(st.integers(0, 90)))
    shared = {
        "Units": "BQML",
        "DecayCorrection": story.correction,
        "CorrectedImage": ["ATTN", *decayed],
        "PatientWeight": story.weight_kg,
        "RadionuclideTotalDose": story.dose_bq,
        "RadionuclideHalfLife": story.half_life_s,
        "StudyDate": f"{story.reference:%Y%m%d}",
        "SeriesDate": f"{opened:%Y%m%d}",
        "SeriesTime": f"{opened:%H%M%S}",
        "ActualFrameDuration": 1000 * story.duration_s,
        "FrameReferenceTime": 0,
        **_written_injection(draw, story),
    }
    if vendor == "ge":
        shared[GE_SCAN_DATETIME] = f"{story.reference:%Y%m%d%H%M%S}.00"
    for start in story.starts:
        fields = shared | {
            "AcquisitionDate": f"{start:%Y%m%d}",
            "AcquisitionTime": f"{start:%H%M%S.%f}",
        }
        if vendor == "frames":
            fields["FrameReferenceTime"] = 1000 * _mean_moment_s(story, start)
        story.slices.append(fields)


def _mean_moment_s(story: Story, start: datetime) -> float:
    """Return when the rate equals the frame's mean, from the reference; by bisection."""
    decay_rate, duration_s = math.log(2) / story.half_life_s, story.duration_s
    mean = (1 - math.exp(-decay_rate * duration_s)) / (decay_rate * duration_s)
    low, high = 0.0, duration_s
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(-decay_rate * middle) > mean else (low, middle)
    return (start - story.reference).total_seconds() + low


def _written_injection(draw: st.DrawFn, story: Story) -> Fields:
    """Write the injection by date and time, by time, or both, in one of several zones."""
    given = story.injection
    utc = given - timedelta(minutes=story.zone)
    other = draw(st.sampled_from([-300, 0, 60, 480]))
    zone = {"TimezoneOffsetFromUTC": _offset(story.zone)}
    forms: list[Fields] = [
        {"RadiopharmaceuticalStartDateTime": f"{given:%Y%m%d%H%M%S}"},
        {"RadiopharmaceuticalStartDateTime": f"{given:%Y%m%d%H%M%S}.000000"} | zone,
        {"RadiopharmaceuticalStartDateTime": f"{given:%Y%m%d%H%M%S}{_offset(story.zone)}"},
        {"RadiopharmaceuticalStartDateTime": f"{given:%Y%m%d%H%M%S}{_offset(story.zone)}"} | zone,
        {"RadiopharmaceuticalStartDateTime": f"{utc:%Y%m%d%H%M%S}.0+0000"} | zone,
        {"RadiopharmaceuticalStartDateTime": f"{utc:%Y%m%d%H%M%S}.0+0000"},
        {
            "RadiopharmaceuticalStartDateTime": (
                f"{utc + timedelta(minutes=other):%Y%m%d%H%M%S}{_offset(other)}"
            )
        }
        | zone,
        {"RadiopharmaceuticalStartDateTime": f"{given:%Y%m%d}"},
        {},
    ]
    form = draw(st.sampled_from(forms))
    with_clock = not form or len(form.get("RadiopharmaceuticalStartDateTime", "")) == 8
    if with_clock or draw(st.booleans()):
        form |= {"RadiopharmaceuticalStartTime": f"{given:%H%M%S}"}
    return form


def _offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


# ---------------------------------------------------------------------------------- faults


def _shift_days(draw: st.DrawFn, story: Story) -> int:
    """Draw by how many days an anonymiser moves a date.

    However many dates are moved, two of them are then equally far from the truth, or so far apart
    that no tracer lasts as long.
    """
    step = 97 if story.half_life_s > 10_000 else 1
    return step * draw(st.sampled_from([-1, 1])) * draw(st.integers(1, 40))


def _moved(text: Any, days: int) -> Any:
    try:
        day = datetime.strptime(str(text)[:8], "%Y%m%d") + timedelta(days=days)
    except (ValueError, OverflowError):
        return text
    return f"{day:%Y%m%d}" + str(text)[8:]


def _move(*keywords: str) -> Callable[[st.DrawFn, Story], None]:
    def fault(draw: st.DrawFn, story: Story) -> None:
        days = _shift_days(draw, story)
        for fields in story.slices:
            for keyword in keywords:
                if keyword in fields:
                    fields[keyword] = _moved(fields[keyword], days)

    return fault


def _remove(*keywords: str) -> Callable[[st.DrawFn, Story], None]:
    def fault(draw: st.DrawFn, story: Story) -> None:
        for fields in story.slices:
            for keyword in keywords:
                fields.pop(keyword, None)

    return fault


def _set(**values: Any) -> Callable[[st.DrawFn, Story], None]:
    def fault(draw: st.DrawFn, story: Story) -> None:
        for fields in story.slices:
            fields.update(values)

    return fault


def _later_reconstruction(draw: st.DrawFn, story: Story) -> None:
    """The series time is that of a reconstruction, hours or days later."""
    after = timedelta(minutes=draw(st.sampled_from([20, 90, 400, 1000, 3000, 9000])))
    done = max(story.starts) + timedelta(seconds=story.duration_s) + after
    _set(SeriesDate=f"{done:%Y%m%d}", SeriesTime=f"{done:%H%M%S}")(draw, story)


def _one_date(draw: st.DrawFn, story: Story) -> None:
    """All slices carry the date of the first, or of the last, also past midnight."""
    one = draw(st.sampled_from([0, -1]))
    _set(AcquisitionDate=story.slices[one].get("AcquisitionDate"))(draw, story)


def _dates_per_file(draw: st.DrawFn, story: Story) -> None:
    """Each file's acquisition date is moved by a random number of days of its own."""
    for fields in story.slices:
        days = _shift_days(draw, story)
        fields["AcquisitionDate"] = _moved(fields.get("AcquisitionDate"), days)


def _without_seconds(draw: st.DrawFn, story: Story) -> None:
    keyword = draw(
        st.sampled_from(["RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"])
    )
    length = {"RadiopharmaceuticalStartTime": 4, "RadiopharmaceuticalStartDateTime": 12}[keyword]
    digits = draw(st.sampled_from([length - 2, length]))
    for fields in story.slices:
        if keyword in fields:
            whole, sign, offset = re.match(r"([^+-]*)([+-]?)(.*)", fields[keyword]).groups()  # type: ignore[union-attr]
            fields[keyword] = whole[:digits] + sign + offset


def _injection_on_the_scans_date(draw: st.DrawFn, story: Story) -> None:
    """(0018,1078) made from the scan's date and the time of day of the injection."""
    if story.half_life_s >= _LONG_LIVED_S or story.half_life_s > 10_000:
        return
    given = f"{story.starts[0]:%Y%m%d}{story.injection:%H%M%S}"
    _set(RadiopharmaceuticalStartDateTime=given)(draw, story)


def _frame_times_of_each_bed(draw: st.DrawFn, story: Story) -> None:
    """FrameReferenceTime counts from each slice's own start, in a scan that starts with one."""
    if story.starts[0] != story.reference:
        return
    for fields, start in zip(story.slices, story.starts, strict=True):
        since_s = (start - story.reference).total_seconds()
        fields["FrameReferenceTime"] = 1000 * (_mean_moment_s(story, start) - since_s)


def _garbage(draw: st.DrawFn, story: Story) -> None:
    """One field holds what it must not."""
    keyword = draw(st.sampled_from(sorted(story.slices[0]) or ["Units"]))
    value = draw(st.sampled_from(_GARBAGE))
    hidden = {("PatientWeight", "999999"), ("PatientWeight", 7)}  # a wrong weight is no garbage
    hidden |= {(name, v) for name in ("RadionuclideTotalDose",) for v in ("999999", 7)}
    hidden |= {("RadionuclideHalfLife", v) for v in ("999999", 7)}
    if not isinstance(value, list) and (keyword, value) in hidden:
        return
    _set(**{keyword: value})(draw, story)


def _extreme(draw: st.DrawFn, story: Story) -> None:
    keyword, value = draw(
        st.sampled_from(
            [
                ("FrameReferenceTime", 1e15),
                ("FrameReferenceTime", -1e15),
                ("FrameReferenceTime", 1e300),
                ("ActualFrameDuration", 1e300),
                ("ActualFrameDuration", 1e-300),
                ("ActualFrameDuration", -5),
                ("RadionuclideHalfLife", 0),
                ("RadionuclideHalfLife", 1e-300),
                ("RadionuclideHalfLife", 1e300),
                ("RadionuclideTotalDose", 1e300),
                ("PatientWeight", 1e300),
                ("PatientWeight", -70),
                ("TimezoneOffsetFromUTC", "+9900"),
                ("TimezoneOffsetFromUTC", "-2401"),
                ("SeriesDate", "00010101"),
                ("AcquisitionDate", "0001"),
                ("AcquisitionDate", "99991231"),
                ("SeriesDate", "99991231"),
                ("RadiopharmaceuticalStartDateTime", "00010101000000+1400"),
                ("RadiopharmaceuticalStartDateTime", "99991231235959-1200"),
                ("AcquisitionTime", "240000"),
                ("SeriesTime", "235960"),
            ]
        )
    )
    if keyword == "TimezoneOffsetFromUTC" and keyword not in story.slices[0]:
        return
    _set(**{keyword: value})(draw, story)


def _odd_but_right(draw: st.DrawFn, story: Story) -> None:
    fields = draw(
        st.sampled_from(
            [
                {"PatientWeight": 1000 * story.weight_kg},
                {"PatientWeight": "70,0"},
                {"RadionuclideTotalDose": story.dose_bq / 1e6},
                {"CorrectedImage": "ATTN\\DECY"},
                {"PatientSize": "1,75"},
                {"RadionuclideHalfLife": str(story.half_life_s).replace(".", ",")},
            ]
        )
    )
    if story.correction == "NONE" and "CorrectedImage" in fields:
        return
    _set(**fields)(draw, story)


_FAULTS: list[Callable[[st.DrawFn, Story], None]] = [
    _move("StudyDate", "SeriesDate"),
    _move("AcquisitionDate"),
    _move("RadiopharmaceuticalStartDateTime"),
    _move("StudyDate", "SeriesDate", "AcquisitionDate"),
    _move("StudyDate", "SeriesDate", "AcquisitionDate", "RadiopharmaceuticalStartDateTime"),
    _move(GE_SCAN_DATETIME),
    _remove("StudyDate", "SeriesDate", "AcquisitionDate"),
    _remove("AcquisitionDate"),
    _remove("SeriesDate"),
    _remove("SeriesDate", "SeriesTime"),
    _remove("AcquisitionDate", "SeriesDate"),
    _remove("AcquisitionDate", "AcquisitionTime"),
    _remove(GE_SCAN_DATETIME),
    _remove("FrameReferenceTime"),
    _remove("ActualFrameDuration"),
    _remove("TimezoneOffsetFromUTC"),
    _remove("RadiopharmaceuticalStartDateTime"),
    _remove("RadionuclideHalfLife"),
    _remove("PatientWeight"),
    _later_reconstruction,
    _one_date,
    _dates_per_file,
    _without_seconds,
    _injection_on_the_scans_date,
    _frame_times_of_each_bed,
    _garbage,
    _extreme,
    _odd_but_right,
]
