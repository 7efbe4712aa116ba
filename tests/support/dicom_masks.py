"""DICOM masks of a PET series for tests: a segmentation by highdicom, contours by pydicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid


def write_segmentation(
    path: Path,
    slices: Sequence[Dataset],
    masks: Mapping[str, np.ndarray],
    *,
    organs: Sequence[str] = (),
    fractional: bool = False,
) -> Path:
    """Write a SEG with a segment per mask [slice, row, column], by name.

    Skips the test where highdicom is not installed.
    """
    pytest.importorskip("highdicom")
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import (
        SegmentAlgorithmTypeValues,
        Segmentation,
        SegmentationTypeValues,
        SegmentDescription,
    )
    from pydicom.sr.codedict import codes

    def described(number: int, name: str) -> SegmentDescription:
        organ = name in organs
        abnormal = codes.SCT.MorphologicallyAbnormalStructure
        return SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure if organ else abnormal,
            segmented_property_type=codes.SCT.Liver if organ else codes.SCT.Neoplasm,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=AlgorithmIdentificationSequence(
                name="test", version="1", family=codes.DCM.ArtificialIntelligence
            ),
        )

    stacked = np.stack(list(masks.values()), axis=-1)
    kind = SegmentationTypeValues.FRACTIONAL if fractional else SegmentationTypeValues.BINARY
    Segmentation(
        source_images=list(slices),
        pixel_array=stacked.astype(np.float32) if fractional else stacked.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=[described(n, name) for n, name in enumerate(masks, 1)],
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
    return path


def write_contours(
    path: Path,
    structures: Mapping[str, tuple[str, Sequence[np.ndarray]]],
    frame_uid: str = "",
    geometry: str = "CLOSED_PLANAR",
) -> Path:
    """Write an RTSTRUCT: by name the interpreted type, and contours [n, 3] in mm, LPS."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.StructureSetLabel = "RTSTRUCT", "test"
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    ds.RTROIObservationsSequence = []
    reference = Dataset()
    reference.FrameOfReferenceUID = frame_uid
    ds.ReferencedFrameOfReferenceSequence = [reference] if frame_uid else []
    for number, (name, (interpreted, outlines)) in enumerate(structures.items(), 1):
        roi, contour, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = reference.FrameOfReferenceUID
        roi.ROIGenerationAlgorithm = "MANUAL"
        contour.ReferencedROINumber = number
        contour.ContourSequence = []
        for outline in outlines:
            one = Dataset()
            one.ContourGeometricType = geometry
            one.NumberOfContourPoints = len(outline)
            one.ContourData = [f"{mm:.4f}" for mm in np.ravel(outline)]
            contour.ContourSequence.append(one)
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType, observation.ROIInterpreter = interpreted, ""
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(contour)
        ds.RTROIObservationsSequence.append(observation)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path
