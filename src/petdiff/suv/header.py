"""What the SUV rules need of one PET slice's DICOM header, parsed and in stated units.

Nothing here knows a file: fields come as a mapping from DICOM keywords to values or their text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import numpy as np

from petdiff.errors import InputRefused

# Two vendors keep what SUV needs in private elements, which have no DICOM keyword of their own.
GE_SCAN_DATETIME = "GEScanDateTime"  # (0009,100D), the time that GE corrects decay to
PHILIPS_SUV_FACTOR = "PhilipsSUVScaleFactor"  # (7053,1000), counts → SUV
PHILIPS_BQML_FACTOR = "PhilipsActivityConcentrationScaleFactor"  # (7053,1009), counts → Bq/ml

# Anonymised headers may hold clock times and no date; then all times are put on one day.
_NO_DATE = date(1900, 1, 1)


@dataclass(frozen=True)
class SliceHeader:
    """One slice's SUV-relevant header fields; None where the header does not say."""

    name: str
    units: str = ""
    suv_type: str = ""
    decay_correction: str = ""
    corrections: tuple[str, ...] | None = None
    weight_kg: float | None = None
    size_m: float | None = None
    sex: str = ""
    dose_bq: float | None = None
    half_life_s: float | None = None
    injection: datetime | None = None
    injection_clock: time | None = None
    series: datetime | None = None
    acquisition: datetime | None = None
    ge_scan: datetime | None = None
    frame_reference_s: float | None = None
    frame_duration_s: float | None = None
    rescale_intercept: float = 0.0
    voxel_ml: float | None = None
    dose_calibration: float | None = None
    philips_suv_factor: float | None = None
    philips_bqml_factor: float | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], name: str = "header") -> SliceHeader:
        """Parse DICOM attributes, given by keyword, the radiopharmaceutical's beside the image's.

        Odd units of real headers are put right here: a weight above 1000 is in grams, a size above
        3 in centimetres, a dose below 1e6 in MBq (IBSI manual for SUV computation).
        """
        day = _first_date(fields, "AcquisitionDate", "SeriesDate", "StudyDate")
        weight, size = _number(fields, "PatientWeight"), _number(fields, "PatientSize")
        dose = _number(fields, "RadionuclideTotalDose")
        zone = _text(fields, "TimezoneOffsetFromUTC")
        corrections = fields.get("CorrectedImage")
        if isinstance(corrections, str):
            corrections = corrections.split("\\")
        return cls(
            name=name,
            units=_text(fields, "Units").upper(),
            suv_type=_text(fields, "SUVType").upper(),
            decay_correction=_text(fields, "DecayCorrection").upper(),
            corrections=tuple(str(c).strip().upper() for c in corrections) if corrections else None,
            weight_kg=weight / 1000 if weight and weight > 1000 else weight,
            size_m=size / 100 if size and size > 3 else size,
            sex=_text(fields, "PatientSex").upper(),
            dose_bq=dose * 1e6 if dose and dose < 1e6 else dose,
            half_life_s=_number(fields, "RadionuclideHalfLife"),
            injection=_datetime(_text(fields, "RadiopharmaceuticalStartDateTime"), zone),
            injection_clock=_clock(_text(fields, "RadiopharmaceuticalStartTime")),
            series=_moment(fields, "SeriesDate", "SeriesTime", day),
            acquisition=_moment(fields, "AcquisitionDate", "AcquisitionTime", day)
            or _datetime(_text(fields, "AcquisitionDateTime"), zone),
            ge_scan=_datetime(_text(fields, GE_SCAN_DATETIME), zone),
            frame_reference_s=_seconds(fields, "FrameReferenceTime"),
            frame_duration_s=_seconds(fields, "ActualFrameDuration"),
            rescale_intercept=_number(fields, "RescaleIntercept") or 0.0,
            voxel_ml=_voxel_ml(fields),
            dose_calibration=_number(fields, "DoseCalibrationFactor"),
            philips_suv_factor=_number(fields, PHILIPS_SUV_FACTOR),
            philips_bqml_factor=_number(fields, PHILIPS_BQML_FACTOR),
        )

    @property
    def has_dates(self) -> bool:
        """False where the header holds clock times only."""
        moments = [m for m in (self.series, self.acquisition) if m is not None]
        return all(m.date() != _NO_DATE for m in moments)


def refuse(header: SliceHeader, why: str) -> InputRefused:
    """The error for a header that gives no SUV, with the way out."""
    options = "--suv-factor F" if header.units else "--units bqml --suv-factor F"
    return InputRefused(
        f"no SUV from {header.name}: {why}; if you know the factor, give {options} "
        "(SUV = stored value × F)"
    )


def _text(fields: Mapping[str, Any], keyword: str) -> str:
    value = fields.get(keyword)
    return "" if value is None else str(value).strip().strip("\0").strip()


def _number(fields: Mapping[str, Any], keyword: str) -> float | None:
    """The value as a float; None where it is absent, empty or not a finite number."""
    try:
        number = float(_text(fields, keyword))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _seconds(fields: Mapping[str, Any], keyword: str) -> float | None:
    milliseconds = _number(fields, keyword)
    return None if milliseconds is None else milliseconds / 1000


def _voxel_ml(fields: Mapping[str, Any]) -> float | None:
    pixel, thickness = fields.get("PixelSpacing"), _number(fields, "SliceThickness")
    if not pixel or not thickness:
        return None
    return float(pixel[0]) * float(pixel[1]) * thickness / 1000


def _first_date(fields: Mapping[str, Any], *keywords: str) -> date:
    for keyword in keywords:
        if (found := _date(_text(fields, keyword))) is not None:
            return found
    return _NO_DATE


def _moment(
    fields: Mapping[str, Any], date_keyword: str, time_keyword: str, otherwise: date
) -> datetime | None:
    clock = _clock(_text(fields, time_keyword))
    if clock is None:
        return None
    return datetime.combine(_date(_text(fields, date_keyword)) or otherwise, clock)


def _date(text: str) -> date | None:
    """A DICOM DA, 20250131, or its older form, 2025.01.31 (PS3.5 6.2)."""
    try:
        return datetime.strptime(text.replace(".", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _clock(text: str) -> time | None:
    """A DICOM TM: HH, HHMM, HHMMSS or HHMMSS.FFFFFF, in its older form with colons (PS3.5 6.2)."""
    whole, _, fraction = text.replace(":", "").partition(".")
    if not whole.isdigit() or len(whole) not in (2, 4, 6):
        return None
    hour, minute, second = (int(whole[n : n + 2] or 0) for n in (0, 2, 4))
    microsecond = int(fraction[:6].ljust(6, "0")) if fraction[:6].isdigit() else 0
    try:
        return time(hour, minute, min(second, 59), microsecond)  # TM allows a leap second, 60
    except ValueError:
        return None


def _datetime(text: str, zone: str) -> datetime | None:
    """A DICOM DT, in the time zone that the header's DA and TM are in.

    An offset in the value matters only where the header says which zone its other times are in:
    without TimezoneOffsetFromUTC all of them are local.
    """
    offset = ""
    for sign in "+-":
        if sign in text:
            text, _, digits = text.partition(sign)
            offset = sign + digits.strip()
    day, clock = _date(text), _clock(text[8:].strip())
    if day is None or clock is None:
        return None
    moment = datetime.combine(day, clock)
    own, wanted = _zone(offset), _zone(zone)
    if own is None or wanted is None:
        return moment
    return moment.replace(tzinfo=own).astimezone(wanted).replace(tzinfo=None)


def _zone(offset: str) -> timezone | None:
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return None
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return timezone(ahead if offset[0] == "+" else -ahead)
