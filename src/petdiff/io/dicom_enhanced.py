"""Convert the headers of enhanced multi-frame PET to headers of single-frame PET slices.

A multi-frame file has shared and per-frame attributes in functional groups (DICOM PS3.3 C.7.6.16,
C.8.22). Here each frame gets the header of a slice of the classic PET image (C.8.9), so that
geometry, SUV, frames and derived series follow one set of rules. The reference time of decay
correction becomes the series' date and time, from which frame reference times of classic PET are
counted (C.8.9.1.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydicom import Dataset
from pydicom.uid import (
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from petdiff.errors import InputRefused
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.enhanced_groups import FrameGroups, fill, put
from petdiff.io.enhanced_scale import scale_of
from petdiff.io.enhanced_times import set_times

MULTI_FRAME_PET = (str(EnhancedPETImageStorage), str(LegacyConvertedEnhancedPETImageStorage))
PET_CLASSES = (str(PositronEmissionTomographyImageStorage), *MULTI_FRAME_PET)

# CorrectedImage (0028,0051) of a classic slice, by the flag of an enhanced one.
_CORRECTIONS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "GantryMotionCorrected": "MOTN",
    "PatientMotionCorrected": "PMOT",
    "CountLossNormalizationCorrected": "CLN",
    "RandomsCorrected": "RAN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}
# Attributes of the file or of all its frames, which a slice does not have.
_MULTI_FRAME_KEYWORDS = (
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames",
    "DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType",
    "RepresentativeFrameNumber", "ConcatenationUID", "InConcatenationNumber",
    "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
    "SOPInstanceUIDOfConcatenationSource", "AcquisitionDateTime", "AcquisitionContextSequence",
    "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique",
    "PresentationLUTShape", "InstanceNumber", "DecayCorrectionDateTime",
    "AttenuationCorrectionSource", *_CORRECTIONS,
)  # fmt: skip
_COPIED = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
    "PETFrameCorrectionFactorsSequence": (
        "DecayFactor", "DoseCalibrationFactor", "ScatterFractionFactor", "DeadTimeFactor",
    ),
    "PETPositionSequence": (
        "PatientOrientationCodeSequence", "PatientOrientationModifierCodeSequence",
        "PatientGantryRelationshipCodeSequence",
    ),
    "PETReconstructionSequence": ("ReconstructionType",),
}  # fmt: skip
_CONVERTED = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
_MAY_BE_EMPTY = (
    "CollimatorType", "ActualFrameDuration", "AcquisitionDate", "AcquisitionTime",
    "PatientOrientationCodeSequence", "PatientGantryRelationshipCodeSequence",
)  # fmt: skip
# Delay of a gate from the trigger in milliseconds.
_TRIGGERS = (
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "ActualCardiacTriggerDelayTime"),
    ("RespiratorySynchronizationSequence", "NominalRespiratoryTriggerDelayTime"),
    ("RespiratorySynchronizationSequence", "ActualRespiratoryTriggerDelayTime"),
)
_SERIES_TYPES = {
    "STATIC": "STATIC",
    "DYNAMIC": "DYNAMIC",
    "GATED": "GATED",
    "WHOLE_BODY": "WHOLE BODY",
    "WHOLE BODY": "WHOLE BODY",
}


def classic_headers(name: str, dataset: Dataset) -> list[Dataset]:
    """Return one header per frame of a multi-frame file, in the order of its frames.

    They keep the file's SOPClassUID and SOPInstanceUID. Raises InputRefused that names `name` and
    the attribute if frames are missing or have no scale.
    """
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    declared = int(number_or_none(dataset, "NumberOfFrames") or 0)
    if not frames or len(frames) != declared:
        raise InputRefused(
            f"{name}: NumberOfFrames (0028,0008) is {declared}, and "
            f"PerFrameFunctionalGroupsSequence (5200,9230) describes {len(frames)}: truncated?"
        )
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    base = Dataset({t: e for t, e in dataset.items() if t.group > 2})
    for keyword in _MULTI_FRAME_KEYWORDS:
        if keyword in base:
            delattr(base, keyword)
    order = _Order([FrameGroups(own, shared) for own in frames])
    return [
        _classic(f"{name}, frame {n + 1}", dataset, base, groups, order.index_of(n))
        for n, groups in enumerate(order.groups)
    ]


def complete_series(
    frames: Sequence[Sequence[Dataset]], kind: Literal["dynamic", "gated"] | None
) -> None:
    """Set the series attributes of slice headers [frame][k] that were made from frames."""
    for n, slices in enumerate(frames):
        for k, header in enumerate(slices):
            put(header, "NumberOfSlices", len(slices))
            put(header, "ImageIndex", n * len(slices) + k + 1)
            put(header, "InstanceNumber", n * len(slices) + k + 1)
            _set_required(header)
            if kind is None:
                continue
            series_type = header.get("SeriesType") or ["STATIC", "IMAGE"]
            put(header, "SeriesType", [kind.upper(), *list(series_type)[1:]])
            if kind == "dynamic":
                put(header, "NumberOfTimeSlices", len(frames))
            else:
                fill(header, "NumberOfRRIntervals", 1)
                fill(header, "NumberOfTimeSlots", len(frames))


def _set_required(header: Dataset) -> None:
    """Set the attributes that only a classic slice requires (C.8.9, C.8.4.6)."""
    fill(header, "CountsSource", "EMISSION")
    fill(header, "FrameReferenceTime", "0")
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, None)
    for tracer in header.RadiopharmaceuticalInformationSequence:
        if "RadionuclideCodeSequence" not in tracer:
            tracer.RadionuclideCodeSequence = []


class _Order:
    """The position and the time index of each frame."""

    def __init__(self, groups: Sequence[FrameGroups]) -> None:
        self.groups = groups
        places = [
            tuple(
                round(float(x), 2)
                for x in g.value("PlanePositionSequence", "ImagePositionPatient") or ()
            )
            for g in groups
        ]
        self.slices = len(set(places))
        rank = {place: n for n, place in enumerate(dict.fromkeys(places))}
        self.place = [rank[place] for place in places]
        temporal = [g.value("FrameContentSequence", "TemporalPositionIndex") for g in groups]
        self.time = [int(t) - 1 for t in temporal if t]
        if len({*zip(self.place, self.time, strict=False)}) < len(groups):
            self.time = self._by_appearance()

    def _by_appearance(self) -> list[int]:
        counts: dict[int, int] = {}
        times = []
        for place in self.place:
            times.append(counts.get(place, 0))
            counts[place] = times[-1] + 1
        return times

    def index_of(self, n: int) -> tuple[int, int]:
        """Return ImageIndex (0054,1330) of frame n and NumberOfTimeSlices (0054,0101)."""
        return self.time[n] * self.slices + self.place[n] + 1, max(self.time) + 1


def _classic(
    name: str, dataset: Dataset, base: Dataset, groups: FrameGroups, index: tuple[int, int]
) -> Dataset:
    header = Dataset(dict(base.items()))
    for converted in _CONVERTED:
        for element in groups.first(converted) or ():
            header[element.tag] = element
    for group, keywords in _COPIED.items():
        for keyword in keywords:
            fill(header, keyword, groups.value(group, keyword))
    scale = scale_of(name, dataset, groups, header)
    put(header, "RescaleSlope", scale.slope)
    put(header, "RescaleIntercept", scale.intercept)
    if scale.units and header.get("Units") not in (None, "", scale.units):
        for keyword in ("Units", "SUVType"):  # of other values than those that the scale gives
            put(header, keyword, None)
    fill(header, "Units", scale.units)
    fill(header, "SUVType", scale.suv_type)
    put(header, "RadiopharmaceuticalInformationSequence", _tracers(dataset, groups))
    _set_corrections(header, dataset)
    set_times(header, dataset, groups, several=index[1] > 1)
    _set_kind(header, dataset, groups, index)
    return header


def _tracers(dataset: Dataset, groups: FrameGroups) -> list[Dataset]:
    """Return the radiopharmaceuticals that a frame names by agent number, or else all of them."""
    items = list(dataset.get("RadiopharmaceuticalInformationSequence") or [Dataset()])
    named = [
        use.get("RadiopharmaceuticalAgentNumber")
        for use in groups.items("RadiopharmaceuticalUsageSequence")
    ]
    numbers = [number for number in named if number]
    chosen = [i for i in items if i.get("RadiopharmaceuticalAgentNumber") in numbers]
    tracers = [Dataset(dict(item.items())) for item in chosen or items]
    for tracer in tracers:
        if "RadiopharmaceuticalAgentNumber" in tracer:
            del tracer.RadiopharmaceuticalAgentNumber
    return tracers


def _set_corrections(header: Dataset, dataset: Dataset) -> None:
    """Set CorrectedImage from the flags, if the file has any of them."""
    flags = {keyword: str(dataset.get(keyword) or "").upper() for keyword in _CORRECTIONS}
    if any(flags.values()):
        found = [_CORRECTIONS[keyword] for keyword, flag in flags.items() if flag == "YES"]
        fill(header, "CorrectedImage", found or ["NONE"])


def _set_kind(
    header: Dataset, dataset: Dataset, groups: FrameGroups, index: tuple[int, int]
) -> None:
    """Set SeriesType, ImageIndex and the time from the trigger."""
    image_type = [str(value) for value in dataset.get("ImageType") or ()]
    kind = _SERIES_TYPES.get(image_type[2].upper(), "STATIC") if len(image_type) > 2 else "STATIC"
    for group, keyword in _TRIGGERS:
        delay_ms = groups.value(group, keyword)
        if delay_ms is not None:
            fill(header, "TriggerTime", format_number_as_ds(float(delay_ms)))
    temporal = groups.value("FrameContentSequence", "TemporalPositionIndex")
    if temporal and index[1] > 1 and kind not in ("DYNAMIC", "GATED"):
        kind = "DYNAMIC"
    fill(header, "SeriesType", [kind, "IMAGE"])
    fill(header, "ImageIndex", index[0])
    put(header, "InstanceNumber", index[0])
