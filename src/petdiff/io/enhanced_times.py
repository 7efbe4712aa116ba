"""Set dates, times and decay correction of a slice from a frame of a multi-frame PET file."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from petdiff.io.dicom_facts import number_or_none
from petdiff.io.enhanced_groups import FrameGroups, fill, put
from petdiff.suv.clock import parse_datetime, parse_zone
from petdiff.suv.half_life import average_rate_time_s

_SAME_MOMENT = timedelta(seconds=1)
_MAX_HALF_LIVES = 50  # between measurement and reference time; more means a wrong clock


def set_times(header: Dataset, dataset: Dataset, groups: FrameGroups, *, several: bool) -> None:
    """Set dates and times of a slice, and the reference time of its decay correction.

    several  whether the file has frames of several times, so that its acquisition time is not that
             of each frame
    """
    zone = parse_zone(str(dataset.get("TimezoneOffsetFromUTC") or ""))

    def moment(value: object) -> datetime | None:
        stamp = parse_datetime(str(value or "").strip()).in_zone(zone)
        if stamp.day is None or stamp.clock is None:
            return None
        return datetime.combine(stamp.day, stamp.clock.time)

    start = moment(groups.value("FrameContentSequence", "FrameAcquisitionDateTime"))
    begun = moment(dataset.get("AcquisitionDateTime"))
    offset_s = groups.value("TemporalPositionSequence", "TemporalPositionTimeOffset")
    if start is None and begun is not None and not (several and offset_s is None):
        start = begun + timedelta(seconds=float(offset_s or 0))
    if start is not None and not (header.get("AcquisitionTime") and header.get("AcquisitionDate")):
        _put_moment(header, "Acquisition", start)
    tracer = header.RadiopharmaceuticalInformationSequence[0]
    injected = moment(tracer.get("RadiopharmaceuticalStartDateTime"))
    duration_ms = groups.value("FrameContentSequence", "FrameAcquisitionDuration")
    if duration_ms is not None:
        fill(header, "ActualFrameDuration", round(float(duration_ms)))
    corrected_to = moment(dataset.get("DecayCorrectionDateTime"))
    _set_decay(header, str(dataset.get("DecayCorrected") or "").upper(), corrected_to, injected)
    if not (header.get("SeriesDate") and header.get("SeriesTime")):
        reference = begun or start
        if reference is not None:
            _put_moment(header, "Series", reference)
    middle = moment(groups.value("FrameContentSequence", "FrameReferenceDateTime"))
    _set_reference(header, start, middle, corrected_to)


def _put_moment(header: Dataset, what: str, moment: datetime) -> None:
    put(header, f"{what}Date", f"{moment:%Y%m%d}")
    put(header, f"{what}Time", f"{moment:%H%M%S.%f}")


def _set_decay(
    header: Dataset, corrected: str, to: datetime | None, injected: datetime | None
) -> None:
    """Set DecayCorrection and, for START, the series' date and time as its reference."""
    if corrected == "NO":
        fill(header, "DecayCorrection", "NONE")
    elif corrected == "YES" and to is not None and _is_same(to, injected):
        fill(header, "DecayCorrection", "ADMIN")
    elif corrected == "YES":
        fill(header, "DecayCorrection", "START")
        if to is not None:
            _put_moment(header, "Series", to)


def _is_same(one: datetime, other: datetime | None) -> bool:
    return other is not None and abs(one - other) <= _SAME_MOMENT


def _set_reference(
    header: Dataset,
    start: datetime | None,
    middle: datetime | None,
    corrected_to: datetime | None,
) -> None:
    """Set FrameReferenceTime, from the series' time, and DecayFactor if they are missing.

    The time of average count rate is computed from start and duration or, if one is unknown, is the
    frame's own reference time.
    """
    half_life_s = number_or_none(
        header.RadiopharmaceuticalInformationSequence[0], "RadionuclideHalfLife"
    )
    duration_s = (number_or_none(header, "ActualFrameDuration") or 0.0) / 1000
    if start is not None and half_life_s and half_life_s > 0 and duration_s > 0:
        middle = start + timedelta(seconds=average_rate_time_s(duration_s, half_life_s))
        if corrected_to is not None and header.get("DecayCorrection") in ("START", "ADMIN"):
            half_lives = (middle - corrected_to).total_seconds() / half_life_s
            if abs(half_lives) < _MAX_HALF_LIVES:
                fill(header, "DecayFactor", format_number_as_ds(2**half_lives))
    series = parse_datetime(f"{header.get('SeriesDate') or ''}{header.get('SeriesTime') or ''}")
    if middle is None or series.day is None or series.clock is None:
        return
    reference_s = (middle - datetime.combine(series.day, series.clock.time)).total_seconds()
    fill(header, "FrameReferenceTime", format_number_as_ds(round(1000 * reference_s, 3)))
