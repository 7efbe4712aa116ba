"""A measurement as a DICOM structured report of TID 1500, with highdicom (extra `regions`).

Each region has two measurement groups (TID 1501) under one tracking identifier: one refers to
slices of the measured series, one to those of the denoised series. Intervals are statistical
properties (TID 311) of the denoised figures, with codes of the scheme 99PETDIFF.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from petdiff import __version__
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.inference.record import ModelUsed
from petdiff.io.dicom_file import lenient_pydicom, refusing
from petdiff.io.dicom_read import DicomSource
from petdiff.io.dicom_text import ascii_text
from petdiff.measurement.figures import FigureName
from petdiff.measurement.record import MeasuredFigure, MeasuredRegion, Measurement
from petdiff.measurement.region import Region, RegionKind
from petdiff.measurement.segmentation import NO_HIGHDICOM
from petdiff.runs import whole_file

if TYPE_CHECKING:
    from highdicom.sr import Measurement as Item
    from highdicom.sr import MeasurementProperties as Properties
    from highdicom.sr import MeasurementsAndQualitativeEvaluations as Group

OWN_SCHEME = "99PETDIFF"
_SUV = Code("126401", "DCM", "SUVbw")
_SUV_UNIT = Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")
_ML, _GRAM, _PERCENT = Code("ml", "UCUM", "ml"), Code("g", "UCUM", "gram"), Code("%", "UCUM", "%")
_VOLUME = Code("118565006", "SCT", "Volume")
_NAMES: dict[FigureName, tuple[Code, Code, Code | None]] = {  # concept, unit, derivation
    "mean": (_SUV, _SUV_UNIT, Code("373098007", "SCT", "Mean")),
    "max": (_SUV, _SUV_UNIT, Code("56851009", "SCT", "Maximum")),
    "peak": (_SUV, _SUV_UNIT, Code("126031", "DCM", "Peak Value Within ROI")),
    "tlg": (Code("126033", "DCM", "Total Lesion Glycolysis"), _GRAM, None),
    "mtv_41": (Code("126032", "DCM", "Metabolic Volume"), _ML, None),
}
_OF_41 = Code("mtv-41", OWN_SCHEME, "Voxels of at least 41 % of the maximum")
_LOWER = Code("interval-lower", OWN_SCHEME, "Lower bound of the interval")
_UPPER = Code("interval-upper", OWN_SCHEME, "Upper bound of the interval")
_LEVEL = Code("interval-level", OWN_SCHEME, "Level of the interval")
_SELECTED = Code("111099", "DCM", "Selected region")
_FINDINGS: dict[RegionKind, Code] = {
    "lesion": Code("52988006", "SCT", "Lesion"),
    "organ": Code("91772007", "SCT", "Organ"),
    "sphere": _SELECTED,
    "focus": _SELECTED,  # it need not be a lesion
}
_PROCEDURE = Code("44139-4", "LN", "PET whole body")
_POPULATION = "Full-dose figure as expected from simulated patients (conformal prediction)"


def write_structured_report(
    path: Path,
    found: Measurement,
    regions: Sequence[Region],
    measured: PETImage,
    denoised: PETImage,
    model: ModelUsed,
) -> None:
    """Write the report as one new DICOM file of the study of the scans.

    regions  those that were measured, in the order of `found`

    Raises UsageError without highdicom; InputRefused where one of the scans is not DICOM or not in
    SUV, and where their headers lack what a report needs.
    """
    try:
        from highdicom.sr import Comprehensive3DSR
    except ImportError:
        raise UsageError(f"`sr`: a structured report {NO_HIGHDICOM}") from None
    both = [_slices(name, scan) for name, scan in (("measured", measured), ("denoised", denoised))]
    if found.unit != "SUV":
        raise InputRefused(f"`sr`: the scan is in {found.unit}, and a structured report needs SUV")
    with whole_file(path) as unfinished, lenient_pydicom(), refusing("`sr`: no report can be made"):
        groups = [
            group
            for row, region in zip(found.regions, regions, strict=True)
            for group in _groups(row, region, both, found.level, model)
        ]
        Comprehensive3DSR(
            evidence=[one for slices in both for one in _once(slices)],
            content=_content(groups, model),
            series_instance_uid=generate_uid(prefix=None),
            series_number=1,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer="petdiff",
            is_complete=True,
            series_description="petdiff measurements, for research only",
            manufacturer_model_name=ascii_text(Path(model.name).name, 64),
            software_versions=__version__,
        ).save_as(unfinished)


def _slices(name: str, scan: PETImage) -> Sequence[Dataset]:
    if not isinstance(scan.source, DicomSource):
        raise InputRefused(
            f"`sr`: the {name} scan is not DICOM, so there is no study that a report could be of: "
            "denoise a DICOM series to DICOM"
        )
    return scan.source.headers


def _once(slices: Sequence[Dataset]) -> list[Dataset]:
    """Return a data set per instance: the slices of a multi-frame object share one."""
    return list({str(one.SOPInstanceUID): one for one in slices}.values())


def _content(groups: Sequence[Group], model: ModelUsed) -> Dataset:
    from highdicom.sr import (
        CodedConcept,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )

    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(prefix=None),
        name="petdiff",
        manufacturer_name="petdiff",
        model_name=ascii_text(Path(model.name).name, 64),
    )
    observer = ObserverContext(CodedConcept("121007", "DCM", "Device"), device)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
    )
    content: Dataset = report[0]
    return content


def _groups(
    row: MeasuredRegion,
    region: Region,
    both: Sequence[Sequence[Dataset]],
    level: float | None,
    model: ModelUsed,
) -> list[Group]:
    """Return the groups of the measured and of the denoised scan."""
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    uid = generate_uid(prefix=None)
    within = np.flatnonzero(region.mask.weights.any(axis=(0, 1))) + region.mask.box[2].start
    found = []
    for of_denoised, slices in enumerate(both):
        seen = _once([slices[int(k)] for k in within])
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid=uid, identifier=row.name[:64]),
            finding_type=_FINDINGS[row.kind],
            algorithm_id=AlgorithmIdentification(
                "petdiff", __version__, parameters=[f"weights SHA-256 {model.sha256}"]
            )
            if of_denoised
            else None,
            measurements=[
                _volume(row, str(slices[0].get("FrameOfReferenceUID", ""))),
                *(
                    _item(one, level, of_denoised=bool(of_denoised))
                    for one in row.figures
                    if (one.denoised if of_denoised else one.measured) is not None
                ),
            ],
            source_images=[
                SourceImageForMeasurementGroup(str(one.SOPClassUID), str(one.SOPInstanceUID))
                for one in seen
            ],
        )
        found.append(group)
    return found


def _volume(row: MeasuredRegion, frame_uid: str) -> Item:
    """Return the volume, with the region's centre as the point it was inferred from."""
    from highdicom.sr import CoordinatesForMeasurement3D, GraphicTypeValues3D, Measurement

    right, anterior, superior = row.centre_mm
    point = np.array([[-right, -anterior, superior]])
    at = CoordinatesForMeasurement3D(GraphicTypeValues3D.POINT, point, frame_uid)
    method = Code("126030", "DCM", "Sum of segmented voxel method for volume")
    return Measurement(
        _VOLUME,
        row.volume_ml,
        _ML,
        method=method,
        referenced_coordinates=[at] if frame_uid else None,
    )


def _item(one: MeasuredFigure, level: float | None, *, of_denoised: bool) -> Item:
    from highdicom.sr import Measurement

    concept, unit, derivation = _NAMES[one.figure]
    value = one.denoised if of_denoised else one.measured
    assert value is not None
    interval = of_denoised and level is not None and one.lower is not None
    return Measurement(
        concept,
        value,
        unit,
        derivation=derivation,
        method=_OF_41 if one.figure == "mtv_41" else None,
        properties=_interval(one, unit, level or 0.0) if interval else None,
    )


def _interval(one: MeasuredFigure, unit: Code, level: float) -> Properties:
    from highdicom.sr import (
        MeasurementProperties,
        MeasurementStatisticalProperties,
        NumContentItem,
        RelationshipTypeValues,
    )

    bounds = ((_LOWER, one.lower, unit), (_UPPER, one.upper, unit))
    items = [
        NumContentItem(
            name=name,
            value=float(value),
            unit=of,
            relationship_type=RelationshipTypeValues.HAS_PROPERTIES,
        )
        for name, value, of in (*bounds, (_LEVEL, 100 * level, _PERCENT))
        if value is not None
    ]
    return MeasurementProperties(
        measurement_statistical_properties=MeasurementStatisticalProperties(
            items, description=_POPULATION
        )
    )
