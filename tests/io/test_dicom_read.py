"""DICOM series in: the right voxels in the right place, and bad input refused by name."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, JPEGLosslessSV1, RLELossless, generate_uid

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io import read, read_in_suv, read_suv
from support.dicom_factory import SPACING_MM, SUV_FACTOR, pet_slices, save, tracer

OBLIQUE = (0.96, 0.28, 0.0, -0.168, 0.576, 0.8)
FEET_FIRST_PRONE = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def pixel_of(slices: Sequence[Dataset], i: int, j: int, k: int) -> float:
    return float(slices[k].pixel_array[j, i]) * float(slices[k].RescaleSlope)


def place_of(ds: Dataset, i: int, j: int) -> np.ndarray:
    """Where pixel (column i, row j) lies, RAS mm, by DICOM PS3.3 equation C.7.6.2.1-1."""
    row, column = np.split(np.array(ds.ImageOrientationPatient, dtype=float), 2)
    lps = np.array(ds.ImagePositionPatient, dtype=float)
    lps = lps + row * i * SPACING_MM[1] + column * j * SPACING_MM[0]
    return lps * [-1, -1, 1]


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE, FEET_FIRST_PRONE])
def test_each_voxel_has_its_value_and_its_place(tmp_path: Path, orientation: Any) -> None:
    slices = pet_slices(orientation=orientation)
    image = read(save(slices, tmp_path))
    assert image.suv.shape == (7, 6, 5)
    for i, j, k in [(0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (3, 2, 1), (6, 5, 4)]:
        expected = pixel_of(slices, i, j, k) * SUV_FACTOR
        assert image.suv[i, j, k] == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(
            (image.affine @ [i, j, k, 1])[:3], place_of(slices[k], i, j), atol=1e-4
        )
    assert image.spacing_mm == pytest.approx((2.0, 3.0, 4.0), abs=1e-5)


def test_instance_numbers_and_file_names_do_not_order_slices(tmp_path: Path) -> None:
    def backwards(k: int, ds: Dataset) -> None:
        ds.InstanceNumber = 5 - k

    slices = pet_slices()
    ordered = read(save(slices, tmp_path / "a"))
    shuffled = read(save(pet_slices(edit=backwards), tmp_path / "b"))
    np.testing.assert_array_equal(ordered.suv, shuffled.suv)


def test_signed_and_unsigned_pixels(tmp_path: Path) -> None:
    signed = np.array([[[-32768, -1], [0, 32767]]], dtype=np.int16)
    unsigned = np.array([[[0, 1], [32768, 65535]]], dtype=np.uint16)
    for n, pixels in enumerate((signed, unsigned)):
        image = read(save(pet_slices(pixels, slopes=[2.0]), tmp_path / str(n)))
        expected = 2.0 * SUV_FACTOR * pixels[0].T.astype(float)
        np.testing.assert_allclose(image.suv[:, :, 0], expected, rtol=1e-6)


def test_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    image = read(save(pet_slices(np.ones((1, 3, 4), dtype=np.int16)), tmp_path))
    assert image.spacing_mm == pytest.approx((2.0, 3.0, 4.0))
    assert any("SliceThickness (0018,0050), 4 mm, is taken" in w for w in image.facts["warnings"])


@pytest.mark.parametrize("thickness", [None, "", 0, -3])
def test_single_slice_without_thickness_is_as_thick_as_its_rows(
    tmp_path: Path, thickness: object
) -> None:
    slices = pet_slices(np.ones((1, 3, 4), dtype=np.int16), SliceThickness=thickness)
    image = read(save(slices, tmp_path))
    assert image.spacing_mm == pytest.approx((2.0, 3.0, 3.0))
    assert any("3 mm between its rows are taken" in w for w in image.facts["warnings"])


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"PixelSpacing": [1e30, 1e30]}, "voxels of 1e\\+30"),
        ({"PixelSpacing": [1e-12, 1e-12]}, "voxels of 1e-12"),
        ({"ImagePositionPatient": [0, 0, 1e30]}, "1e\\+30 mm from its origin"),
        ({"SliceThickness": 1e9}, "voxels of 2 × 3 × 1e\\+09 mm"),
    ],
)
def test_places_that_no_scan_has_are_refused(
    tmp_path: Path, attributes: dict[str, Any], named: str
) -> None:
    slices = pet_slices(np.ones((1, 3, 4), dtype=np.int16), **attributes)
    with pytest.raises(InputRefused, match=named):
        read(save(slices, tmp_path))


def test_uncorrected_decay_gives_a_factor_a_slice(tmp_path: Path) -> None:
    def beds(k: int, ds: Dataset) -> None:
        ds.AcquisitionTime = "105000" if k < 2 else "110000"

    image = read(save(pet_slices(DecayCorrection="NONE", edit=beds), tmp_path))
    factors = 1 / np.asarray(image.stored_per_value)
    assert factors.shape == (5,)
    assert factors[4] / factors[0] == pytest.approx(2 ** (600 / 6600))


def test_finds_the_series_among_other_files(tmp_path: Path) -> None:
    save(pet_slices(), tmp_path / "deep" / "er")
    ct = pet_slices(Modality="CT", SOPClassUID=CTImageStorage)
    save(ct, tmp_path, prefix="ct")
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert read(tmp_path).suv.shape == (7, 6, 5)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    save(pet_slices(), tmp_path)
    save(pet_slices(), tmp_path, prefix="other")
    whole = read(tmp_path / "03.dcm")
    assert whole.suv.shape == (7, 6, 5)


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    first, second = pet_slices(), pet_slices(SeriesDescription="NAC", CorrectedImage=["DECY"])
    save(first, tmp_path, prefix="a")
    save(second, tmp_path, prefix="b")
    with pytest.raises(InputRefused, match="`series`") as refusal:
        read(tmp_path)
    for named in (first[0].SeriesInstanceUID, "NAC", "not attenuation corrected", "5 slices"):
        assert named in str(refusal.value)
    assert read(tmp_path, series=first[0].SeriesInstanceUID).suv.shape == (7, 6, 5)
    with pytest.raises(InputRefused, match=r"1\.2\.3"):
        read(tmp_path, series="1.2.3")


def test_private_factors_of_vendors_are_found(tmp_path: Path) -> None:
    def philips(k: int, ds: Dataset) -> None:
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.0005")

    def ge(k: int, ds: Dataset) -> None:
        block = ds.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", "20240102105000.00")

    save(pet_slices(Units="CNTS", edit=philips), tmp_path / "philips")
    assert read_suv(tmp_path / "philips").factor == pytest.approx(0.0005)
    save(pet_slices(SeriesTime="120000", edit=ge), tmp_path / "ge")
    assert read_suv(tmp_path / "ge").rule == "GE scan time"


def test_callers_word_overrules_the_header(tmp_path: Path) -> None:
    slices = pet_slices()
    bare = pet_slices(Units=None, CorrectedImage=None)
    save(slices, tmp_path / "a")
    save(bare, tmp_path / "b")
    image = read(tmp_path / "a", suv_factor=0.5)
    assert image.suv[0, 0, 0] == pytest.approx(0.5 * pixel_of(slices, 0, 0, 0))
    assert (image.stored_per_value, image.unit) == (2.0, "BQML")
    image = read(tmp_path / "b", units="bqml", suv_factor=1)
    assert image.suv[0, 0, 0] == pytest.approx(pixel_of(bare, 0, 0, 0))
    with pytest.raises(InputRefused, match="`units` bqml and `suv_factor`"):
        read_suv(tmp_path / "b")
    assert not read(tmp_path / "b").in_suv


def test_facts_name_no_patient_and_are_json(tmp_path: Path) -> None:
    image = read(save(pet_slices(PatientName="Doe^Jane", PatientID="4711"), tmp_path))
    text = json.dumps(image.facts)
    assert "Doe" not in text
    assert "4711" not in text
    assert image.facts["suv"]["rule"] == "series time"


def _drop(*where: int) -> Any:
    return lambda slices: [ds for k, ds in enumerate(slices) if k not in where]


def _twice(slices: list[Dataset]) -> list[Dataset]:
    copy = pet_slices(SeriesInstanceUID=slices[0].SeriesInstanceUID)[2]
    return [*slices, copy]


def _shifted(slices: list[Dataset]) -> list[Dataset]:
    position = slices[2].ImagePositionPatient
    slices[2].ImagePositionPatient = [position[0], position[1], position[2] + 1.0]
    return slices


def _frames(slices: list[Dataset]) -> list[Dataset]:
    uid = slices[0].SeriesInstanceUID
    return [*slices, *pet_slices(SeriesInstanceUID=uid), *pet_slices(SeriesInstanceUID=uid)]


def _other_size(slices: list[Dataset]) -> list[Dataset]:
    slices[1] = pet_slices(
        np.zeros((2, 5, 5), dtype=np.int16), SeriesInstanceUID=slices[0].SeriesInstanceUID
    )[1]
    return slices


@pytest.mark.parametrize(
    ("breaking", "named"),
    [
        (_drop(2), r"missing: 1 between 104.00 mm \(10\.dcm\) and 112.00 mm \(17\.dcm\)"),
        (_drop(1, 2), "missing: 2 between"),
        (_twice, r"twice.*17\.dcm"),
        (_shifted, r"17\.dcm.*1\.000 mm off"),
        (_frames, "twice at one position, and no AcquisitionTime"),
        (_other_size, "Rows"),
    ],
)
def test_stacks_that_are_no_volume_are_refused(tmp_path: Path, breaking: Any, named: str) -> None:
    with pytest.raises(InputRefused, match=named):
        read(save(breaking(pet_slices()), tmp_path))


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
        ({"RescaleSlope": None}, "RescaleSlope"),
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
    with pytest.raises(InputRefused, match="no DICOM"):
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


def _on_grid_of(image: PETImage, other: Any) -> np.ndarray:
    """The values of a NIfTI image at our voxels; only flips may lie between the two grids."""
    voxel_to_voxel = np.linalg.inv(other.affine) @ image.affine
    rounded = np.rint(voxel_to_voxel)
    np.testing.assert_allclose(voxel_to_voxel, rounded, atol=2e-3)
    index = np.indices(image.suv.shape).reshape(3, -1)
    there = (rounded[:3, :3] @ index + rounded[:3, 3:]).astype(int)
    return np.asarray(other.get_fdata())[tuple(there)].reshape(image.suv.shape)


PATIENTS = ("STS_001", "STS_007", "STS_013", "STS_022", "STS_035", "STS_048")


@pytest.mark.real
@pytest.mark.parametrize("patient", PATIENTS)
def test_agrees_with_the_nifti_twin(test_data: Path, patient: str) -> None:
    folder = test_data / "sts_fdg" / patient
    image, twin = read(folder / "dicom"), nib.load(folder / "PET_image.nii.gz")
    np.testing.assert_allclose(image.suv, _on_grid_of(image, twin), rtol=2e-7, atol=0)


@pytest.mark.real
@pytest.mark.oracle
@pytest.mark.parametrize(
    "series", ["sts_fdg/STS_001/dicom", "sts_fdg/STS_013/dicom", "nema_iq/pet_recon_1"]
)
def test_agrees_with_dcm2niix(test_data: Path, tmp_path: Path, series: str) -> None:
    converter = shutil.which("dcm2niix") or Path(sys.prefix) / "bin" / "dcm2niix"
    if not Path(converter).exists():
        pytest.skip("dcm2niix is not installed")
    command = [converter, "-o", tmp_path, "-f", "pet", "-b", "n", test_data / series]
    subprocess.run(command, check=True, capture_output=True)
    image = read(test_data / series, units="bqml", suv_factor=1)
    theirs = _on_grid_of(image, nib.load(next(tmp_path.glob("*.nii"))))
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(image.suv, theirs, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["0_0", "1_0", "2_0", "2_1", "2_2", "2_3", "3_0", "3_2", "3_3", "4_0", "4_2"]
)
def test_digital_reference_objects_read_their_suv(test_data: Path, name: str) -> None:
    folder = test_data / "suv_dro" / f"DRO_{name}"
    image = read(folder / "PT")
    mask = _on_grid_of(image, nib.load(folder / "mask" / "DRO_mask.nii.gz")) > 0
    inside = image.suv[mask]
    found = [inside.min(), np.median(inside), inside.max()]
    # DRO_2_3 is stored in steps of 0.04 SUV.
    np.testing.assert_allclose(found, [0.2, 1.0, 4.0], atol=0.03 if name == "2_3" else 0.005)


@pytest.mark.real
def test_poor_headers_need_the_callers_word(test_data: Path) -> None:
    folder = test_data / "nema_iq" / "pet_recon_1"
    with pytest.raises(InputRefused, match="`units` bqml and `suv_factor`"):
        read_suv(folder)
    image = read(folder, units="bqml", suv_factor=1)
    assert image.suv.shape == (192, 192, 89)
    assert image.unit == "BQML"
