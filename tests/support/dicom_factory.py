"""Small PET series for tests: valid by default, and broken in one way where a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACING_MM = (3.0, 2.0, 4.0)  # between rows, between columns, between slices
SUV_FACTOR = 2 * 70_000 / 3.5e8  # one half-life after injection

Edit = Callable[[int, Dataset], None]


def pet_slices(
    pixels: NDArray[np.integer[Any]] | None = None,
    *,
    orientation: Sequence[float] = AXIAL,
    slopes: Sequence[float] | None = None,
    edit: Edit | None = None,
    **attributes: Any,
) -> list[Dataset]:
    """A BQML series, one dataset a slice from bottom to top, of pixels [slice, row, column].

    `attributes` are set on every slice, None removes one; `edit(k, slice)` has the last word.
    """
    if pixels is None:
        pixels = np.random.default_rng(0).integers(0, 3000, (5, 6, 7), dtype=np.int16)
    slopes = slopes if slopes is not None else [1.5 + 0.25 * k for k in range(len(pixels))]
    series_uid, study_uid, frame_uid = generate_uid(), generate_uid(), generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for k, plane in enumerate(pixels):
        ds = _header(series_uid, study_uid, frame_uid)
        position = np.array([-10.0, 20.0, 100.0]) + k * SPACING_MM[2] * normal
        ds.ImagePositionPatient = [round(float(x), 6) for x in position]
        ds.ImageOrientationPatient = [round(float(x), 9) for x in orientation]
        ds.InstanceNumber = k + 1
        ds.ImageIndex = k + 1
        ds.NumberOfSlices = len(pixels)
        ds.RescaleSlope = slopes[k]
        _set_pixels(ds, plane)
        for keyword, value in attributes.items():
            if value is not None:
                setattr(ds, keyword, value)
            elif keyword in ds:
                delattr(ds, keyword)
        if edit is not None:
            edit(k, ds)
        slices.append(ds)
    return slices


def uids_of(ds: Dataset) -> dict[str, str]:
    """The attributes that make other slices part of a slice's series."""
    return {"SeriesInstanceUID": ds.SeriesInstanceUID, "StudyInstanceUID": ds.StudyInstanceUID}


FRAME_SECONDS = (10.0, 20.0, 60.0)
HALF_LIFE_S = 6600.0


def dynamic_slices(
    durations_s: Sequence[float] = FRAME_SECONDS,
    *,
    pixels: NDArray[np.integer[Any]] | None = None,
    edit: Callable[[int, int, Dataset], None] | None = None,
    **attributes: Any,
) -> list[Dataset]:
    """A dynamic series, frames one after the other from 10:50:00, each slice decay corrected to it.

    `pixels` are [frame, slice, row, column]; `edit(frame, k, slice)` has the last word.
    """
    if pixels is None:
        shape = (len(durations_s), 5, 6, 7)
        pixels = np.random.default_rng(0).integers(0, 3000, shape, dtype=np.int16)
    uids = [generate_uid() for _ in range(3)]
    rate = np.log(2) / HALF_LIFE_S
    slices, start_s = [], 0.0
    for n, duration_s in enumerate(durations_s):
        mean_moment_s = np.log(rate * duration_s / -np.expm1(-rate * duration_s)) / rate
        begun = datetime(2024, 1, 2, 10, 50) + timedelta(seconds=start_s)
        for k, ds in enumerate(pet_slices(pixels[n], **attributes)):
            ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = uids
            ds.SeriesType, ds.NumberOfTimeSlices = ["DYNAMIC", "IMAGE"], len(durations_s)
            ds.AcquisitionDate, ds.AcquisitionTime = f"{begun:%Y%m%d}", f"{begun:%H%M%S.%f}"
            ds.FrameReferenceTime = round(1000 * (start_s + mean_moment_s), 3)
            ds.ActualFrameDuration = int(1000 * duration_s)
            ds.DecayFactor = round(float(np.exp(rate * (start_s + mean_moment_s))), 8)
            ds.ImageIndex = ds.InstanceNumber = n * len(pixels[n]) + k + 1
            if edit is not None:
                edit(n, k, ds)
            slices.append(ds)
        start_s += duration_s
    return slices


def tracer(ds: Dataset) -> Dataset:
    """A slice's radiopharmaceutical item."""
    item: Dataset = ds.RadiopharmaceuticalInformationSequence[0]
    return item


def save(slices: Sequence[Dataset], folder: Path, prefix: str = "") -> Path:
    """Write slices under names whose order is not that of their positions."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, ds in enumerate(slices):
        ds.save_as(folder / f"{prefix}{(7 * k + 3) % 97:02d}.dcm", enforce_file_format=True)
    return folder


def _header(series_uid: str, study_uid: str, frame_uid: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = PositronEmissionTomographyImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.StudyInstanceUID = series_uid, study_uid
    ds.FrameOfReferenceUID = frame_uid
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality, ds.Manufacturer, ds.SeriesDescription = "PT", "Nobody", "made for a test"
    ds.SeriesNumber = 3
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test", "T1", "", "M"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "", ""
    ds.PositionReferenceIndicator = ""
    ds.PatientWeight, ds.PatientSize = 70, 1.75
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "105000"
    ds.SliceThickness, ds.PixelSpacing = SPACING_MM[2], list(SPACING_MM[:2])
    ds.Units, ds.DecayCorrection, ds.CountsSource = "BQML", "START", "EMISSION"
    ds.SeriesType, ds.NumberOfTimeSlices = ["STATIC", "IMAGE"], 1
    ds.CorrectedImage = ["ATTN", "DECY", "SCAT"]
    ds.FrameReferenceTime, ds.ActualFrameDuration = 0, 600_000
    ds.DecayFactor, ds.DoseCalibrationFactor = 1, 1
    ds.RescaleIntercept = 0
    item = Dataset()
    item.Radiopharmaceutical = "FDG"
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = 3.5e8, 6600
    item.RadiopharmaceuticalStartDateTime = "20240102090000"
    item.RadiopharmaceuticalStartTime = "090000"
    ds.RadiopharmaceuticalInformationSequence = [item]
    return ds


def _set_pixels(ds: Dataset, plane: NDArray[np.integer[Any]]) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, int(plane.dtype.kind == "i")
    ds.add_new(0x7FE00010, "OW", plane.astype(plane.dtype.newbyteorder("<")).tobytes())


def bare(ds: Dataset, *, implicit: bool = True, little: bool = True) -> bytes:
    """Return a slice as its data set alone: no preamble, no "DICM", no group 0002."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    ds = Dataset(dict(ds.items()))
    if not little:
        pixels = np.frombuffer(ds.PixelData, "<i2").astype(">i2")
        ds.add_new(0x7FE00010, "OW", pixels.tobytes())
    write_dataset(out, ds)
    return out.getvalue()


def pixel_of(slices: Sequence[Dataset], i: int, j: int, k: int) -> float:
    """Return the value of pixel (column i, row j) of slice k, in the unit of the slices."""
    return float(slices[k].pixel_array[j, i]) * float(slices[k].RescaleSlope)
