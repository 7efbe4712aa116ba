"""DICOM series in: the right voxels in the right place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from petdiff.errors import InputRefused
from petdiff.io import read, read_suv
from support.dicom_factory import SPACING_MM, SUV_FACTOR, pet_slices, pixel_of, save

OBLIQUE = (0.96, 0.28, 0.0, -0.168, 0.576, 0.8)
FEET_FIRST_PRONE = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def place_of(ds: Dataset, i: int, j: int) -> np.ndarray:
    """Return the place of pixel (column i, row j), RAS mm, by DICOM PS3.3 eq. C.7.6.2.1-1."""
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


@pytest.mark.parametrize(
    ("attributes", "vr", "count"),
    [
        ({0x00280120: -32768}, "SS", 35),
        ({0x00280120: 32768}, "US", 35),  # the same number, unsigned
        ({0x00280120: -32768, 0x00280121: -30000}, "SS", 36),
        ({0x00280120: 2500}, "SS", 0),
    ],
)
def test_padding_below_zero_is_air_and_the_hottest_pixel_is_none(
    tmp_path: Path, attributes: dict[int, int], vr: str, count: int
) -> None:
    pixels = np.random.default_rng(0).integers(1, 2500, (5, 6, 7), dtype=np.int16)
    pixels[:, 0], pixels[:, 3, 3], pixels[2, 4, 4] = -32768, 2500, -31000

    def edit(_: int, ds: Dataset) -> None:
        for tag, value in attributes.items():
            ds.add_new(tag, vr, value)

    image = read(save(pet_slices(pixels, slopes=[1.0] * 5, edit=edit), tmp_path), suv_factor=1)
    padded = (pixels == -32768) if count else np.zeros(pixels.shape, bool)
    padded[2, 4, 4] = count == 36
    expected = np.where(padded, 0, pixels).transpose(2, 1, 0)
    np.testing.assert_array_equal(image.values, expected)
    told = [warning for warning in image.facts["warnings"] if "PixelPaddingValue" in warning]
    assert [warning.partition(" ")[0] for warning in told] == ([str(count)] if count else [])


def test_a_missing_intercept_is_zero(tmp_path: Path) -> None:
    slices = pet_slices(RescaleIntercept=None)
    image = read(save(slices, tmp_path))
    assert image.suv[3, 2, 1] == pytest.approx(pixel_of(slices, 3, 2, 1) * SUV_FACTOR, rel=1e-6)


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
    image = read(save(pet_slices(PatientName="Doe^Jane", PatientID="ID-4711-DOE"), tmp_path))
    text = json.dumps(image.facts)
    assert "Doe" not in text
    assert "ID-4711-DOE" not in text
    assert image.facts["suv"]["rule"] == "series time"
