"""Read from a PET header the fields for SUV and the facts for the record of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import Dataset

from petdiff.suv.header import (
    ADMINISTRATIONS,
    GE_SCAN_DATETIME,
    PHILIPS_BQML_FACTOR,
    PHILIPS_SUV_FACTOR,
    parse_number,
    text_values,
)

_IMAGE_KEYWORDS = (
    "Units", "SUVType", "DecayCorrection", "CorrectedImage", "PatientWeight", "PatientSize",
    "PatientSex", "StudyDate", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
    "AcquisitionDateTime", "TimezoneOffsetFromUTC", "FrameReferenceTime", "ActualFrameDuration",
    "RescaleSlope", "RescaleIntercept", "PixelSpacing", "SliceThickness", "DoseCalibrationFactor",
)  # fmt: skip
_TRACER_KEYWORDS = (
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartDateTime",
    "RadiopharmaceuticalStartTime",
)
# (group, element within the creator's block, creator)
_PRIVATE = {
    GE_SCAN_DATETIME: (0x0009, 0x0D, "GEMS_PETD_01"),
    PHILIPS_SUV_FACTOR: (0x7053, 0x00, "Philips PET Private Group"),
    PHILIPS_BQML_FACTOR: (0x7053, 0x09, "Philips PET Private Group"),
}


def header_fields(header: Dataset) -> dict[str, object]:
    """Return the attributes that SliceHeader.from_fields reads, by keyword."""
    tracer = tracer_item(header)
    fields = {keyword: header.get(keyword) for keyword in _IMAGE_KEYWORDS}
    fields |= {keyword: tracer.get(keyword) for keyword in _TRACER_KEYWORDS}
    fields |= {keyword: _private(header, *where) for keyword, where in _PRIVATE.items()}
    fields[ADMINISTRATIONS] = _administrations(header)
    return fields


def acquisition_facts(headers: Sequence[Dataset]) -> dict[str, Any]:
    """Return the facts for the record of a run, for JSON, without patient data."""
    first = headers[0]
    tracer = tracer_item(first)
    durations_s = [number_or_none(h, "ActualFrameDuration") or 0.0 for h in headers]
    warnings = []
    declared = number_or_none(first, "NumberOfSlices")
    if declared and declared != len(headers):
        warnings.append(
            f"NumberOfSlices (0054,0081) is {declared:g} and {len(headers)} were found: "
            "the scan may be cut short"
        )
    if first.get("LossyImageCompression") == "01":
        warnings.append("LossyImageCompression (0028,2110) is 01: it has changed the values")
    return {
        "format": "dicom",
        "series_uid": str(first.get("SeriesInstanceUID", "")),
        "series_description": _text(first, "SeriesDescription"),
        "image_type": text_values(first.get("ImageType")),
        "manufacturer": _text(first, "Manufacturer"),
        "scanner": _text(first, "ManufacturerModelName"),
        "reconstruction": _text(first, "ReconstructionMethod"),
        "patient_position": _text(first, "PatientPosition"),
        "corrections": text_values(first.get("CorrectedImage")),
        "tracer": _text(tracer, "Radiopharmaceutical"),
        "frame_duration_s": float(np.median(durations_s)) / 1000 or None,
        "warnings": warnings,
    }


def tracer_item(header: Dataset) -> Dataset:
    """Return the first item of RadiopharmaceuticalInformationSequence, empty if there is none."""
    return next(iter(_tracer_items(header)), Dataset())


def _administrations(header: Dataset) -> int:
    """Return how many items of the sequence state a dose and differ in it, half-life or times."""
    stated = {
        tuple(str(item.get(keyword) or "") for keyword in _TRACER_KEYWORDS)
        for item in _tracer_items(header)
        if item.get("RadionuclideTotalDose")
    }
    return len(stated)


def _tracer_items(header: Dataset) -> list[Dataset]:
    sequence = header.get("RadiopharmaceuticalInformationSequence")
    items = sequence if isinstance(sequence, Sequence) else ()
    return [item for item in items if isinstance(item, Dataset)]


def number_or_none(header: Dataset, keyword: str) -> float | None:
    """Return a number; None if it is absent, empty or damaged."""
    return parse_number(header.get(keyword))


def _text(header: Dataset, keyword: str) -> str | None:
    return str(header.get(keyword) or "") or None


def _private(header: Dataset, group: int, element: int, creator: str) -> object:
    """Return a private element: in its creator's block or, without a creator, (gggg,10xx)."""
    try:
        found = header.private_block(group, creator)[element]
    except KeyError:
        found = header.get((group, 0x1000 + element))
        if found is None or (group, 0x0010) in header:
            return None
    value = found.value
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
