"""Write a derived PET series: the source's headers with new pixels and a derivation description.

The copied, renewed and dropped attributes follow DICOM PS3.3 (General Image, PET Image: C.7.6.1,
C.8.9.4); docs/reference/dicom.md lists them. Values keep the source's unit and timing tags are not
changed, so that SUV is computed in the same way as for the source.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from petdiff import __version__
from petdiff.errors import PetdiffError, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io.derivation import Derivation
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_file import lenient_pydicom
from petdiff.io.dicom_read import DicomSource
from petdiff.io.dicom_text import ascii_text, declare_character_set
from petdiff.records import NOTICE
from petdiff.runs import whole_folder
from petdiff.suv.clock import parse_zone

_log = logging.getLogger(__name__)

_MAX_IS = 2**31 - 1  # of a number of VR IS (PS3.5 6.2)
_MAX_PIXEL = 32767  # of 16-bit signed; −32768 is not used, so that the scale is symmetric

# Attributes of the source's pixels: ranges, windows, lookup tables, previews, signatures.
_DROPPED = (
    "SmallestPixelValueInSeries", "LargestPixelValueInSeries", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation",
    "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "RescaleType",
    "RealWorldValueMappingSequence", "IconImageSequence", "DigitalSignaturesSequence",
    "MACParametersSequence", "ReferencedImageEvidenceSequence", "DerivationCodeSequence",
    "DataSetTrailingPadding",
)  # fmt: skip


_RENEWED = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "ImageType",
    "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime",
    "ContentQualification", "BurnedInAnnotation", "DerivationDescription", "SourceImageSequence",
    "ContributingEquipmentSequence", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SmallestImagePixelValue",
    "LargestImagePixelValue", "RescaleSlope", "RescaleIntercept",
)  # fmt: skip


def write_series(scan: PETImage | PETFrames, folder: Path, derivation: Derivation) -> None:
    """Write `scan` as a PET series derived from the DICOM series that it was read from.

    Each slice of each frame is one file of 16-bit signed numbers with its own slope. The rounding
    error is at most half of max|value| / 32767 of the slice. Raises UsageError without a DICOM
    source.
    """
    frames = scan.frames if isinstance(scan, PETFrames) else (scan,)
    for frame in frames:
        _require_source(frame, folder)
    series_uid, now = generate_uid(prefix=None), _now(frames[0].source.headers[0])
    written = 0
    with whole_folder(folder) as unfinished, lenient_pydicom() as notes:
        for frame in frames:
            headers = frame.source.headers
            per_value = np.broadcast_to(np.asarray(frame.stored_per_value), len(headers))
            numbered = zip(headers, frame.source.frame_numbers, strict=True)
            for k, (header, number) in enumerate(numbered):
                stored = frame.values[:, :, k].T.astype(np.float64) * per_value[k]
                if not np.isfinite(stored).all():
                    raise PetdiffError(
                        f"{folder} is not written: slice {k} holds NaN or infinite values"
                    )
                derived = _derived(header, number, derivation, series_uid, now)
                written += 1
                if "InstanceNumber" not in derived:
                    derived.InstanceNumber = written
                _set_pixels(derived, stored)
                (unfinished / f"{written:05d}.dcm").write_bytes(_encoded(derived))
    for note in notes:
        _log.warning("%s: %s", folder, note)


def _now(source: Dataset) -> datetime:
    """Return the time in the zone of the source's times (0008,0201), which is copied."""
    zone = parse_zone(str(source.get("TimezoneOffsetFromUTC") or ""))
    return datetime.now(None if zone is None else timezone(zone))


def _encoded(derived: Dataset) -> bytes:
    """Return the bytes of one file, without elements of the source that cannot be written."""
    declare_character_set(derived)
    out = BytesIO()
    try:
        derived.save_as(out, enforce_file_format=True)
    except Exception:  # pydicom raises many kinds on values that do not fit their VR
        for tag in list(derived.keys()):
            if not _can_be_written(derived, tag):
                _log.warning("%s of the source is damaged: left out of the derived series", tag)
                del derived[tag]
        out = BytesIO()
        derived.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _can_be_written(derived: Dataset, tag: BaseTag) -> bool:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = False, True
    try:
        write_dataset(out, Dataset({tag: derived[tag]}))
    except Exception:  # pydicom raises many kinds
        return False
    return True


def _require_source(image: PETImage, folder: Path) -> None:
    if not isinstance(image.source, DicomSource):
        raise UsageError(
            f"{folder} would be DICOM, and the scan was not read from DICOM, so it has no headers "
            "to derive from: write .nii.gz"
        )
    headers = image.source.headers
    if image.shape != (headers[0].Columns, headers[0].Rows, len(headers)):
        raise UsageError(f"the image is {image.shape}, not on the grid of its DICOM source")


def _derived(
    source: Dataset,
    frame_number: int | None,
    derivation: Derivation,
    series_uid: str,
    now: datetime,
) -> Dataset:
    """Return the source's header as that of a new image in a new series of the same study."""
    derived = Dataset({tag: element for tag, element in source.items() if tag.group > 2})
    # Elements are shared with the source, so those that are set below must be removed first.
    for keyword in (*_DROPPED, *_RENEWED):
        if keyword in derived:
            delattr(derived, keyword)
    derived.SOPClassUID = PositronEmissionTomographyImageStorage
    derived.SOPInstanceUID = generate_uid(prefix=None)
    derived.SeriesInstanceUID = series_uid
    number = int(number_or_none(source, "SeriesNumber") or 0)
    derived.SeriesNumber = number + 1000 if number + 1000 <= _MAX_IS else number
    prefix = ascii_text(derivation.series_prefix, 62)
    description = f"{prefix} {source.get('SeriesDescription') or ''}"
    derived.SeriesDescription = description[:64].strip()
    # Value 2 is PRIMARY for PET, derived or not (PS3.3 C.8.9.4.1.1).
    others = _further_values(source.get("ImageType"), derivation.image_kind)
    derived.ImageType = ["DERIVED", "PRIMARY", *others, derivation.image_kind]
    derived.InstanceCreationDate = derived.ContentDate = f"{now:%Y%m%d}"
    derived.InstanceCreationTime = derived.ContentTime = f"{now:%H%M%S.%f}"
    derived.ContentQualification = "RESEARCH"
    burned_in = str(source.get("BurnedInAnnotation") or "NO").upper() == "YES"
    derived.BurnedInAnnotation = "YES" if burned_in else "NO"
    derived.DerivationDescription = ascii_text(derivation.description, 1024)
    derived.SourceImageSequence = [_source_image(source, frame_number)]
    equipment = source.get("ContributingEquipmentSequence") or []
    derived.ContributingEquipmentSequence = [*equipment, _equipment(derivation, now)]
    derived.file_meta = FileMetaDataset()
    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    derived.file_meta.ImplementationVersionName = ascii_text(f"PETDIFF {__version__}", 16)
    return derived


def _further_values(image_type: str | Sequence[str] | None, new: str) -> list[str]:
    """Return the values of the source's ImageType after the first two."""
    values = [image_type] if isinstance(image_type, str) else list(image_type or [])
    return [value for value in values[2:] if value and value != new]


def _set_pixels(derived: Dataset, stored: NDArray[np.float64]) -> None:
    """Store [row, column] as 16-bit signed numbers with the smallest possible slope."""
    # The slope is rounded to the 16 characters of a DS first, and then used.
    slope_text = format_number_as_ds(float(np.abs(stored).max()) / _MAX_PIXEL or 1.0)
    pixels = np.rint(stored / float(slope_text)).clip(-_MAX_PIXEL, _MAX_PIXEL).astype("<i2")
    derived.SamplesPerPixel = 1
    derived.PhotometricInterpretation = "MONOCHROME2"
    derived.BitsAllocated = derived.BitsStored = 16
    derived.HighBit = 15
    derived.PixelRepresentation = 1
    derived.add_new(0x00280106, "SS", int(pixels.min()))
    derived.add_new(0x00280107, "SS", int(pixels.max()))
    derived.RescaleSlope = slope_text
    derived.RescaleIntercept = "0"
    derived.add_new(0x7FE00010, "OW", pixels.tobytes().ljust(2 * pixels.size, b"\0"))


def _source_image(source: Dataset, frame_number: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if frame_number is not None:
        item.ReferencedFrameNumber = frame_number
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = [
        _code("121322", "Source image for image processing operation")
    ]
    return item


def _equipment(derivation: Derivation, now: datetime) -> Dataset:
    item = Dataset()
    item.Manufacturer = "petdiff"
    item.ManufacturerModelName = ascii_text(derivation.model, 64)
    item.SoftwareVersions = ascii_text(__version__, 64)
    item.ContributionDateTime = f"{now:%Y%m%d%H%M%S.%f}"
    weights = f" Weights SHA-256 {derivation.weights_sha256}" if derivation.weights_sha256 else ""
    item.ContributionDescription = f"{NOTICE}{weights}"
    item.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]
    return item


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = meaning
    return item
