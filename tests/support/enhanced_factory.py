"""Enhanced multi-frame PET files for tests, made of classic slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedPETImageStorage, ExplicitVRLittleEndian, generate_uid

Where = Literal["shared", "each"]
SERIES_START = datetime(2024, 1, 2, 10, 50)

_FLAGS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "RandomsCorrected": "RAN",
}
_PATIENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientWeight", "PatientSize",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator",
    "Modality", "Manufacturer", "SeriesDescription", "SeriesNumber", "Rows", "Columns",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "RadiopharmaceuticalInformationSequence",
)  # fmt: skip


def item(**attributes: Any) -> Dataset:
    """A sequence's item."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def unit_item(code: str, slope: float, intercept: float = 0.0) -> Dataset:
    """A real-world value map in a unit, by its UCUM code."""
    units = item(CodeValue=code, CodingSchemeDesignator="UCUM", CodeMeaning=code)
    found = item(RealWorldValueSlope=slope, RealWorldValueIntercept=intercept, LUTLabel="X")
    found.MeasurementUnitsCodeSequence = [units]
    return found


def enhanced(
    slices: Sequence[Dataset],
    *,
    groups: Where = "shared",
    edit: Callable[[Dataset, list[Dataset]], None] | None = None,
    **attributes: Any,
) -> Dataset:
    """One multi-frame file of classic slices, decay corrected to 10:50:00.

    groups  where plane orientation and pixel measures stand; the rest differs by frame
    `attributes` are set on the file, None removes one; `edit(file, frames)` has the last word.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedPETImageStorage, generate_uid()
    for keyword in _PATIENT:
        if keyword in slices[0]:
            setattr(ds, keyword, slices[0][keyword].value)
    ds.InstanceNumber, ds.ImageType = 1, ["ORIGINAL", "PRIMARY", "STATIC", "NONE"]
    ds.SeriesDate, ds.SeriesTime = "20240102", "120000"  # of the archive: not the reference
    ds.AcquisitionDateTime = f"{SERIES_START:%Y%m%d%H%M%S}"
    ds.DecayCorrectionDateTime = f"{SERIES_START:%Y%m%d%H%M%S}"
    for flag, correction in _FLAGS.items():
        setattr(ds, flag, "YES" if correction in slices[0].CorrectedImage else "NO")
    common = {
        "PixelMeasuresSequence": [
            item(
                PixelSpacing=slices[0].PixelSpacing,
                SliceThickness=slices[0].SliceThickness,
                SpacingBetweenSlices=slices[0].SliceThickness,
            )
        ],
        "PlaneOrientationSequence": [
            item(ImageOrientationPatient=slices[0].ImageOrientationPatient)
        ],
    }
    frames = [_frame(n, source) for n, source in enumerate(slices)]
    for frame in frames if groups == "each" else ():
        for keyword, value in common.items():
            setattr(frame, keyword, value)
    ds.SharedFunctionalGroupsSequence = [item(**common) if groups == "shared" else Dataset()]
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.NumberOfFrames = len(frames)
    ds.add_new(0x7FE00010, "OW", b"".join(source.PixelData for source in slices))
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    if edit is not None:
        edit(ds, frames)
    return ds


def _frame(n: int, source: Dataset) -> Dataset:
    start = datetime.strptime(
        f"{source.AcquisitionDate}{source.AcquisitionTime}".partition(".")[0], "%Y%m%d%H%M%S"
    )
    duration_ms = float(source.ActualFrameDuration)
    content = item(
        FrameAcquisitionDateTime=f"{start:%Y%m%d%H%M%S}",
        FrameAcquisitionDuration=duration_ms,
        FrameReferenceDateTime=f"{start + timedelta(milliseconds=duration_ms / 2):%Y%m%d%H%M%S.%f}",
        StackID="1",
        InStackPositionNumber=n + 1,
    )
    scale = item(
        RescaleSlope=source.RescaleSlope, RescaleIntercept=0, RescaleType=str(source.Units)
    )
    return item(
        FrameContentSequence=[content],
        PlanePositionSequence=[item(ImagePositionPatient=source.ImagePositionPatient)],
        PixelValueTransformationSequence=[scale],
    )
