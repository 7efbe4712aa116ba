"""The fields of one PET slice's DICOM header that the SUV rules need, parsed, with units.

This module reads no files: fields are given as a mapping from DICOM keywords to values or text.
A value that cannot be parsed counts as missing; none raises an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from petdiff.errors import SUVRefused
from petdiff.suv.clock import Clock, Stamp, parse_clock, parse_date, parse_datetime, parse_zone

# Private elements of two vendors with data for SUV. DICOM has no keywords for them.
GE_SCAN_DATETIME = "GEScanDateTime"  # (0009,100D), the time that GE corrects decay to
PHILIPS_SUV_FACTOR = "PhilipsSUVScaleFactor"  # (7053,1000), counts → SUV
PHILIPS_BQML_FACTOR = "PhilipsActivityConcentrationScaleFactor"  # (7053,1009), counts → Bq/ml
ADMINISTRATIONS = "NumberOfAdministrations"  # items of (0054,0016) that differ in dose or times

NO_DAY = date(1900, 1, 1)  # for headers with clock times only

_NOTHING = Stamp()
_MAX_KG = 1000.0  # a greater weight is in grams (IBSI manual)
_MIN_BQ = 1e6  # a lower dose is in MBq (IBSI manual)


@dataclass(frozen=True)
class SliceHeader:
    """One slice's SUV-relevant header fields; None where the header does not say.

    zone             time zone of the header's dates and clock times (0008,0201), as an offset from
                     UTC
    administrations  number of different administrations of a tracer; the fields are of the first
    notes            which fields were converted or repaired when they were read
    """

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
    administrations: int = 1
    zone: timedelta | None = None
    injection: Stamp = _NOTHING
    injection_clock: Clock | None = None
    study_day: date | None = None
    series: Stamp = _NOTHING
    acquisition: Stamp = _NOTHING
    ge_scan: Stamp = _NOTHING
    frame_reference_s: float | None = None
    frame_duration_s: float | None = None
    rescale_slope: float | None = None
    rescale_intercept: float = 0.0
    voxel_ml: float | None = None
    dose_calibration: float | None = None
    philips_suv_factor: float | None = None
    philips_bqml_factor: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_fields(cls, fields: Mapping[str, object], name: str = "header") -> SliceHeader:
        """Parse DICOM attributes by keyword, those of the radiopharmaceutical among them.

        Wrong units, which real headers have, are corrected: a weight above 1000 is in grams, a
        size above 3 in centimetres, a dose below 1e6 in MBq (IBSI manual for SUV computation).
        """
        weight, size = _number(fields, "PatientWeight"), _number(fields, "PatientSize")
        dose = _number(fields, "RadionuclideTotalDose")
        corrections = text_values(fields.get("CorrectedImage"))
        return cls(
            name=name,
            units=_text(fields, "Units").upper(),
            suv_type=_text(fields, "SUVType").upper(),
            decay_correction=_text(fields, "DecayCorrection").upper(),
            corrections=tuple(c.upper() for c in corrections) or None,
            weight_kg=weight / 1000 if weight and weight > _MAX_KG else weight,
            size_m=size / 100 if size and size > 3 else size,
            sex=_text(fields, "PatientSex").upper(),
            dose_bq=dose * 1e6 if dose and dose < _MIN_BQ else dose,
            half_life_s=_number(fields, "RadionuclideHalfLife"),
            administrations=int(_number(fields, ADMINISTRATIONS) or 1),
            zone=parse_zone(_text(fields, "TimezoneOffsetFromUTC")),
            injection=parse_datetime(_text(fields, "RadiopharmaceuticalStartDateTime")),
            injection_clock=parse_clock(_text(fields, "RadiopharmaceuticalStartTime")),
            study_day=parse_date(_text(fields, "StudyDate")),
            series=_stamp(fields, "SeriesDate", "SeriesTime"),
            acquisition=_acquisition(fields),
            ge_scan=parse_datetime(_text(fields, GE_SCAN_DATETIME)),
            frame_reference_s=_seconds(fields, "FrameReferenceTime"),
            frame_duration_s=_seconds(fields, "ActualFrameDuration"),
            rescale_slope=_number(fields, "RescaleSlope"),
            rescale_intercept=_number(fields, "RescaleIntercept") or 0.0,
            voxel_ml=_voxel_ml(fields),
            dose_calibration=_factor(fields, "DoseCalibrationFactor"),
            philips_suv_factor=_factor(fields, PHILIPS_SUV_FACTOR),
            philips_bqml_factor=_factor(fields, PHILIPS_BQML_FACTOR),
            notes=tuple(_notes(fields, weight, dose)),
        )

    @property
    def acquired(self) -> datetime | None:
        """The start of the slice's frame, from the fields of this slice alone.

        Without an acquisition date it has the date of the series or the study, or NO_DAY.
        """
        stamp = self.acquisition.in_zone(self.zone)
        if stamp.clock is None:
            return None
        day = stamp.day or self.series.day or self.study_day or NO_DAY
        return datetime.combine(day, stamp.clock.time)


def refuse(header: SliceHeader, why: str) -> SUVRefused:
    """Return the error for a header that gives no SUV; it names the options that help."""
    options = "`suv_factor` F" if header.units else "`units` bqml and `suv_factor` F"
    return SUVRefused(
        f"no SUV from {header.name}: {why}; if you know the factor, give {options} "
        "(SUV = stored value × F)"
    )


def text_values(value: object) -> list[str]:
    """Return a field's values as a list of text, whether it holds none, one or several."""
    if value is None:
        return []
    if isinstance(value, str):
        value = value.split("\\")
    elif not isinstance(value, Iterable) or isinstance(value, bytes):
        value = [value]
    found = (_printable(str(one).strip(" \0")) for one in value)
    return [one for one in found if one]


def _notes(fields: Mapping[str, object], weight: float | None, dose: float | None) -> list[str]:
    """Return which numbers for SUV were converted or repaired, in sentences."""
    notes = []
    if weight and weight > _MAX_KG:
        notes.append("PatientWeight (0010,1030) is above 1000: it is taken as grams")
    if dose and dose < _MIN_BQ:
        notes.append("RadionuclideTotalDose (0018,1074) is below 1e6: it is taken as MBq")
    for keyword in ("PatientWeight", "RadionuclideTotalDose", "RadionuclideHalfLife"):
        if "," in _text(fields, keyword) and _number(fields, keyword) is not None:
            notes.append(f"{keyword} has a comma: it is taken as the decimal point")
    return notes


def _text(fields: Mapping[str, object], keyword: str) -> str:
    value = fields.get(keyword)
    text = "" if value is None else str(value).strip().strip("\0").strip()
    return _printable(text)


def _printable(text: str) -> str:
    """Return text of a header that may be damaged, safe to show in a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def parse_number(value: object) -> float | None:
    """Return a finite float, 70.5 for "70,5"; None for an absent, empty or other value."""
    text = "" if value is None else str(value).strip(" \0")
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        number = float(text) if "_" not in text else np.nan
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _factor(fields: Mapping[str, object], keyword: str) -> float | None:
    """Return a factor between units; None where it is absent or implausible."""
    factor = _number(fields, keyword)
    return factor if factor is not None and 1e-15 < factor < 1e15 else None


def _number(fields: Mapping[str, object], keyword: str) -> float | None:
    return parse_number(fields.get(keyword))


def _seconds(fields: Mapping[str, object], keyword: str) -> float | None:
    milliseconds = _number(fields, keyword)
    return None if milliseconds is None else milliseconds / 1000


def _voxel_ml(fields: Mapping[str, object]) -> float | None:
    pixel = text_values(fields.get("PixelSpacing"))
    sides = [parse_number(one) for one in pixel] + [_number(fields, "SliceThickness")]
    known = [side for side in sides if side is not None and side > 0]
    return float(np.prod(known)) / 1000 if len(sides) == len(known) == 3 else None


def _stamp(fields: Mapping[str, object], day: str, clock: str) -> Stamp:
    return Stamp(parse_date(_text(fields, day)), parse_clock(_text(fields, clock)))


def _acquisition(fields: Mapping[str, object]) -> Stamp:
    """Return the slice's own start: date and time, or AcquisitionDateTime without a time."""
    stamp = _stamp(fields, "AcquisitionDate", "AcquisitionTime")
    if stamp.clock is not None:
        return stamp
    whole = parse_datetime(_text(fields, "AcquisitionDateTime"))
    return whole if whole.clock is not None else stamp
