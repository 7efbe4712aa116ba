"""DICOM series that are no volume, or have no SUV: refused by name, or read in their own unit."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, JPEGLosslessSV1, RLELossless, generate_uid

from petdiff.errors import InputRefused
from petdiff.io import read, read_in_suv, read_suv
from support.dicom_factory import pet_slices, pixel_of, save, tracer, uids_of


def _drop(*where: int) -> Any:
    return lambda slices: [ds for k, ds in enumerate(slices) if k not in where]


def _twice(slices: list[Dataset]) -> list[Dataset]:
    copy = pet_slices(**uids_of(slices[0]))[2]
    return [*slices, copy]


def _shifted(slices: list[Dataset]) -> list[Dataset]:
    position = slices[2].ImagePositionPatient
    slices[2].ImagePositionPatient = [position[0], position[1], position[2] + 1.0]
    return slices


def _frames(slices: list[Dataset]) -> list[Dataset]:
    uids = uids_of(slices[0])
    return [*slices, *pet_slices(**uids), *pet_slices(**uids)]


def _other_size(slices: list[Dataset]) -> list[Dataset]:
    slices[1] = pet_slices(np.zeros((2, 5, 5), dtype=np.int16), **uids_of(slices[0]))[1]
    return slices


@pytest.mark.parametrize(
    ("breaking", "named"),
    [
        (_drop(2), r"missing: 1 between 104.00 mm \(10\.dcm\) and 112.00 mm \(17\.dcm\)"),
        (_drop(1, 2), "missing: 2 between"),
        (_twice, r"twice.*17\.dcm"),
        (_shifted, r"17\.dcm deviates.*1\.000 mm"),
        (_frames, "twice at one position, and no AcquisitionTime"),
        (_other_size, "Rows"),
    ],
)
def test_stacks_that_are_no_volume_are_refused(tmp_path: Path, breaking: Any, named: str) -> None:
    with pytest.raises(InputRefused, match=named):
        read(save(breaking(pet_slices()), tmp_path))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"PatientID": "T2", "AcquisitionTime": "143000"}, r"PatientID \(0010,0020\)"),
        ({"StudyInstanceUID": "1.2.3", "AcquisitionTime": "143000"}, r"StudyInstanceUID \(0020,0"),
    ],
)
def test_scans_of_two_patients_or_studies_with_one_series_uid_are_not_frames(
    tmp_path: Path, other: dict[str, str], named: str
) -> None:
    """Careless anonymisers leave such series. The message does not quote the patients' IDs."""
    first = pet_slices()
    second = pet_slices(**uids_of(first[0]) | other)
    with pytest.raises(InputRefused, match=named) as refused:
        read(save([*first, *second], tmp_path))
    assert "03.dcm and 38.dcm" in str(refused.value)
    assert "T2" not in str(refused.value)
    # A patient without an ID in some files is no other patient.
    save(pet_slices(edit=lambda k, ds: setattr(ds, "PatientID", "T1" if k else "")), tmp_path / "p")
    assert read(tmp_path / "p").shape == (7, 6, 5)


def test_a_picture_of_the_whole_body_is_no_scan(tmp_path: Path) -> None:
    """A maximum-intensity projection has the SOP class of PET, and a grid of one slice."""
    pixels = np.ones((1, 6, 7), dtype=np.int16)
    picture = pet_slices(pixels, SeriesType=["WHOLE BODY", "REPROJECTION"], SeriesNumber=9)
    folder = save(picture, tmp_path / "study" / "mip")
    for options in ({}, {"series": picture[0].SeriesInstanceUID}):
        with pytest.raises(InputRefused, match=r"SeriesType \(0054,1000\) of .* is REPROJECTION"):
            read(folder, **options)
    save(pet_slices(), tmp_path / "study" / "pet")
    assert read(tmp_path / "study").shape == (7, 6, 5)


def test_every_other_slice_is_suspicious(tmp_path: Path) -> None:
    image = read(save(pet_slices()[::2], tmp_path))
    assert any("every other" in warning for warning in image.facts["warnings"])
    assert any("NumberOfSlices" in warning for warning in image.facts["warnings"])


def test_positions_rounded_to_a_tenth_are_even(tmp_path: Path) -> None:
    def rounded(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [0, 0, round(k * 2.027, 1)]

    pixels = np.ones((40, 3, 3), dtype=np.int16)
    image = read(save(pet_slices(pixels, slopes=[1.0] * 40, edit=rounded), tmp_path))
    assert image.spacing_mm[2] == pytest.approx(2.027, abs=0.003)


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "CT"),
        ({"NumberOfFrames": 2}, "multi-frame"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"RescaleSlope": None}, "RescaleSlope is absent"),
        ({"RescaleSlope": 0}, "RescaleSlope"),
        ({"RescaleSlope": -1.5}, "RescaleSlope"),
        ({"RescaleSlope": "1e400"}, "RescaleSlope is '1e400', not a number"),
        ({"PixelData": None}, "PixelData"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PhotometricInterpretation"),
    ],
)
def test_headers_that_are_no_pet_scan_are_refused(
    tmp_path: Path, attributes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputRefused, match=named):
        read(save(pet_slices(**attributes), tmp_path))


@pytest.mark.parametrize(
    ("attributes", "named", "unit"),
    [
        ({"CorrectedImage": ["DECY", "SCAT"]}, "attenuation", "Bq/ml"),
        ({"CorrectedImage": "DECY"}, "attenuation", "Bq/ml"),
        ({"Units": "PROPCNTS"}, "PROPCNTS", "proportional to counts"),
        ({"Units": "CNTS"}, "7053,1000", "counts"),
        ({"Units": None}, "Units", "stored values"),
        ({"PatientWeight": None}, "PatientWeight", "Bq/ml"),
        ({"DecayCorrection": None}, "DecayCorrection", "Bq/ml"),
        ({"RadiopharmaceuticalInformationSequence": None}, "RadionuclideTotalDose", "Bq/ml"),
        ({"AcquisitionTime": None, "SeriesTime": None}, "AcquisitionTime", "Bq/ml"),
        ({"RescaleIntercept": 7}, "RescaleIntercept", "Bq/ml"),
    ],
)
def test_without_suv_a_scan_is_read_in_its_own_unit(
    tmp_path: Path, attributes: dict[str, Any], named: str, unit: str
) -> None:
    slices = pet_slices(**attributes)
    image = read(save(slices, tmp_path))
    assert not image.in_suv
    assert image.unit_name == unit
    assert named in image.no_suv_reason
    assert image.stored_per_value == 1
    intercept = attributes.get("RescaleIntercept", 0)
    assert image.values[3, 2, 1] == pytest.approx(pixel_of(slices, 3, 2, 1) + intercept)
    json.dumps(image.facts)
    for ask in (read_suv, read_in_suv):
        with pytest.raises(InputRefused, match=named):
            ask(tmp_path)


def test_the_dose_of_one_administration_of_two_gives_no_suv(tmp_path: Path) -> None:
    """A second item is the same tracer given again, or another; a copy is neither."""

    def two(change: dict[str, Any]) -> Any:
        def edit(k: int, ds: Dataset) -> None:
            other = copy.deepcopy(tracer(ds))
            for keyword, value in change.items():
                setattr(other, keyword, value)
            ds.RadiopharmaceuticalInformationSequence = [tracer(ds), other]

        return edit

    again = {"RadionuclideTotalDose": 1e8, "RadiopharmaceuticalStartDateTime": "20240102100000"}
    image = read(save(pet_slices(edit=two(again)), tmp_path / "again"))
    assert not image.in_suv
    assert "(0054,0016) lists 2 administrations" in image.no_suv_reason
    copied = read(save(pet_slices(edit=two({"Radiopharmaceutical": "Copy"})), tmp_path / "copy"))
    assert copied.in_suv
    stored = pet_slices(edit=two(again), Units="GML")
    assert read(save(stored, tmp_path / "stored")).in_suv


def test_suv_that_was_asked_for_is_not_left_out(tmp_path: Path) -> None:
    save(pet_slices(CorrectedImage=["DECY"]), tmp_path)
    with pytest.raises(InputRefused, match="attenuation"):
        read(tmp_path, suv_factor=0.5)
    with pytest.raises(InputRefused, match="attenuation"):
        read(tmp_path, units="suv")


@pytest.mark.parametrize(
    ("keyword", "value", "named"),
    [
        ("RescaleIntercept", 500_000, "RescaleIntercept"),
        ("RescaleIntercept", -1, "RescaleIntercept"),
        ("RescaleSlope", 0, "RescaleSlope"),
        ("RescaleSlope", -2, "RescaleSlope"),
        ("Units", "CNTS", "Units"),
        ("Units", None, "Units"),
    ],
)
@pytest.mark.parametrize("where", [0, 2, 4])
def test_one_slice_of_another_scale_is_refused(
    tmp_path: Path, keyword: str, value: Any, named: str, where: int
) -> None:
    def damage(k: int, ds: Dataset) -> None:
        if k == where:
            setattr(ds, keyword, value)

    with pytest.raises(InputRefused, match=named):
        read(save(pet_slices(edit=damage), tmp_path))


def test_an_empty_slice_may_have_a_slope_of_zero(tmp_path: Path) -> None:
    def empty(k: int, ds: Dataset) -> None:
        if k == 4:
            ds.RescaleSlope = 0
            ds.PixelData = bytes(len(ds.PixelData))

    image = read(save(pet_slices(edit=empty), tmp_path))
    assert not image.values[..., 4].any()


@pytest.mark.parametrize("value", ["ATTN", ["ATTN"], "ATTN\\DECY"])
def test_corrections_are_words_however_many(tmp_path: Path, value: Any) -> None:
    image = read(save(pet_slices(Units="GML", CorrectedImage=value), tmp_path))
    assert image.facts["corrections"][0] == "ATTN"
    assert len(image.facts["corrections"]) == (2 if "DECY" in value else 1)


def test_a_tracer_sequence_that_is_text_counts_as_missing(tmp_path: Path) -> None:
    def text(k: int, ds: Dataset) -> None:
        del ds.RadiopharmaceuticalInformationSequence
        ds.add_new(0x00540016, "LO", "FDG 350 MBq")

    image = read(save(pet_slices(edit=text), tmp_path))
    assert "RadionuclideTotalDose" in image.no_suv_reason


def test_no_injection_time_is_refused(tmp_path: Path) -> None:
    def timeless(k: int, ds: Dataset) -> None:
        del tracer(ds).RadiopharmaceuticalStartDateTime, tracer(ds).RadiopharmaceuticalStartTime

    with pytest.raises(InputRefused, match=r"0018,1072.*`suv_factor`"):
        read_suv(save(pet_slices(edit=timeless), tmp_path))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_truncated_file_is_refused_by_name(tmp_path: Path, kept: float) -> None:
    file = save(pet_slices(), tmp_path) / "10.dcm"
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputRefused, match=r"10\.dcm"):
        read(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    file = save(pet_slices(np.ones((2, 3, 3), dtype=np.int16)), tmp_path) / "10.dcm"
    content = np.frombuffer(file.read_bytes(), dtype=np.uint8).copy()
    content[rng.integers(132, len(content), 4)] = rng.integers(0, 256, 4)
    file.write_bytes(content.tobytes())
    with contextlib.suppress(InputRefused):
        assert np.isfinite(read(tmp_path).suv).all()


def test_empty_folder_and_strange_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="no DICOM"):
        read(tmp_path)
    (tmp_path / "scan.txt").write_text("hello")
    with pytest.raises(InputRefused, match="is no file that petdiff reads: give DICOM"):
        read(tmp_path / "scan.txt")
    with pytest.raises(InputRefused, match="does not exist"):
        read(tmp_path / "nowhere")


def test_compressed_pixels_are_decoded_or_the_decoder_named(tmp_path: Path) -> None:
    plain = read(save(pet_slices(), tmp_path / "plain"))
    compressed = pet_slices()
    for ds in compressed:
        ds.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read(save(compressed, tmp_path / "rle")).suv, plain.suv)
    for ds in compressed:
        ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    with pytest.raises(InputRefused, match="dcmdjpeg"):
        read(save(compressed, tmp_path / "jpeg"))


def test_dicomdir_is_passed_over(tmp_path: Path) -> None:
    from pydicom.fileset import FileSet

    slices = pet_slices()
    for ds in slices:
        ds.PatientID = "T1"
    fileset = FileSet()
    for ds in slices:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        fileset.add(ds)
    fileset.write(tmp_path / "disc")
    assert (tmp_path / "disc" / "DICOMDIR").exists()
    assert read(tmp_path / "disc").suv.shape == (7, 6, 5)
    assert read(tmp_path / "disc" / "DICOMDIR").suv.shape == (7, 6, 5)
