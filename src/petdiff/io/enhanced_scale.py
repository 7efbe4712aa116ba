"""Find the rescale slope, intercept and unit of a frame of a multi-frame PET file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from petdiff.errors import InputRefused
from petdiff.io.enhanced_groups import FrameGroups

# Classic Units (0054,1001) and SUVType (0054,1006), with a factor to that unit, by RescaleType or
# by UCUM code, which are compared in upper case and without blanks (DICOM PS3.16 CID 84 and 85).
_UNITS = {
    "BQML": ("BQML", "", 1.0),
    "BQ/ML": ("BQML", "", 1.0),
    "BQ/CC": ("BQML", "", 1.0),
    "KBQ/ML": ("BQML", "", 1e3),
    "KBQ/CC": ("BQML", "", 1e3),
    "MBQ/ML": ("BQML", "", 1e6),
    "CNTS": ("CNTS", "", 1.0),
    "{COUNTS}": ("CNTS", "", 1.0),
    "CPS": ("CPS", "", 1.0),
    "{COUNTS}/S": ("CPS", "", 1.0),
    "PROPCPS": ("PROPCPS", "", 1.0),
    "{PROPCOUNTS}/S": ("PROPCPS", "", 1.0),
    "PROPCNTS": ("PROPCNTS", "", 1.0),
    "{PROPCOUNTS}": ("PROPCNTS", "", 1.0),
    "GML": ("GML", "", 1.0),
    "G/ML": ("GML", "", 1.0),
    "SUV": ("GML", "BW", 1.0),
    "{SUVBW}G/ML": ("GML", "BW", 1.0),
    "{SUVLBM}G/ML": ("GML", "LBM", 1.0),
    "{SUVLBM(JAMES128)}G/ML": ("GML", "LBMJAMES128", 1.0),
    "{SUVLBM(JANMA)}G/ML": ("GML", "LBMJANMA", 1.0),
    "{SUVIBW}G/ML": ("GML", "IBW", 1.0),
    "CM2ML": ("CM2ML", "BSA", 1.0),
    "CM2/ML": ("CM2ML", "BSA", 1.0),
    "{SUVBSA}CM2/ML": ("CM2ML", "BSA", 1.0),
}


@dataclass(frozen=True)
class Scale:
    """value = stored number × slope + intercept, in `units`; slope and intercept as DS text."""

    slope: str
    intercept: str
    units: str
    suv_type: str


def scale_of(name: str, dataset: Dataset, groups: FrameGroups, header: Dataset) -> Scale:
    """Find the scale of one frame.

    Priority: 1. PixelValueTransformationSequence, if its RescaleType or Units (0054,1001) states
    the unit; 2. RealWorldValueMappingSequence, activity before SUV; 3. the transformation without a
    unit. Raises InputRefused if the frame has none of them.

    header  the frame's attributes that were read so far
    """
    transformation = groups.first("PixelValueTransformationSequence")
    if transformation is None and header.get("RescaleSlope") is not None:
        transformation = header
    rescaled = _linear(transformation, "RescaleSlope", "RescaleIntercept")
    if rescaled is not None and transformation is not None:
        named = _UNITS.get(_code(transformation.get("RescaleType")))
        if named is not None:
            return _scale(rescaled, named)
        if header.get("Units"):
            return _scale(rescaled, (str(header.Units), str(header.get("SUVType") or ""), 1.0))
    mapped = sorted(_mappings(dataset, groups), key=lambda found: found[1][0] != "BQML")
    if mapped:
        return _scale(*mapped[0])
    if rescaled is not None:
        return _scale(rescaled, ("", "", 1.0))
    raise InputRefused(
        f"{name} has neither PixelValueTransformationSequence (0028,9145) nor "
        "RealWorldValueMappingSequence (0040,9096) with a slope: its values have no scale"
    )


def _mappings(
    dataset: Dataset, groups: FrameGroups
) -> Iterator[tuple[tuple[float, float], tuple[str, str, float]]]:
    """Yield the linear real-world value mappings with a known unit, and the unit."""
    for item in (
        *groups.items("RealWorldValueMappingSequence"),
        *(dataset.get("RealWorldValueMappingSequence") or ()),
    ):
        linear = _linear(item, "RealWorldValueSlope", "RealWorldValueIntercept")
        if linear is None:
            continue
        units = (item.get("MeasurementUnitsCodeSequence") or [Dataset()])[0]
        for text in (units.get("CodeValue"), units.get("CodeMeaning"), item.get("LUTLabel")):
            if (named := _UNITS.get(_code(text))) is not None:
                yield linear, named
                break


def _linear(item: Dataset | None, slope: str, intercept: str) -> tuple[float, float] | None:
    if item is None:
        return None
    try:
        found = float(item[slope].value), float(item.get(intercept) or 0)
    except (KeyError, TypeError, ValueError):
        return None
    return found if all(map(isfinite, found)) else None


def _scale(linear: tuple[float, float], unit: tuple[str, str, float]) -> Scale:
    units, suv_type, factor = unit
    slope, intercept = (format_number_as_ds(number * factor) for number in linear)
    return Scale(slope, intercept, units, suv_type)


def _code(text: object) -> str:
    """Return a unit's text for comparison: upper case, no blanks, annotation first."""
    plain = "".join(str(text or "").split()).upper()
    head, brace, annotation = plain.partition("{")
    # {SUVbw}g/ml and g/ml{SUVbw} are both in use.
    return f"{{{annotation}{head}" if head and brace and "}" in annotation else plain
