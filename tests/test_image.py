"""PETImage: one line of text without a patient, and no SUV where there is none."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from petdiff.image import NoSUVError, PETImage, axial_axis, spacing_of
from petdiff.io import read
from support.dicom_factory import pet_slices, save

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def test_repr_is_one_line_without_the_patient(tmp_path: Path) -> None:
    image = read(save(pet_slices(PatientName="Doe^Jane", PatientID="ID-4711-DOE"), tmp_path))
    text = repr(image)
    assert text.startswith("PETImage(7 × 6 × 5 voxels of 2 × 3 × 4 mm, 0")
    assert text.endswith(" SUV)")
    assert "\n" not in text
    assert len(text) < 100
    assert "Doe" not in text
    assert "ID-4711-DOE" not in text
    assert "Doe" not in repr(image.source)


def test_voxel_size_and_axis_along_the_patient_of_an_oblique_grid() -> None:
    turn = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
    for order, axial in (((0, 1, 2), 2), ((2, 0, 1), 0), ((1, 2, 0), 1)):
        affine = np.eye(4)
        affine[:3, :3] = (turn @ np.diag([2.0, 3.0, -4.0]))[:, order]
        assert spacing_of(affine) == pytest.approx([(2, 3, 4)[n] for n in order])
        assert axial_axis(affine) == axial


def test_a_cropped_scan_lies_where_nibabel_places_it() -> None:
    affine = AFFINE.copy()
    affine[:3, :3] @= Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
    affine[:3, 3] = 5, -6, 7
    image = PETImage(VALUES, affine, np.arange(1.0, 5.0), source="headers")
    cropped = image.cropped((slice(0, 2), slice(1, 3), slice(2, 4)))
    expected = nib.Nifti1Image(VALUES, affine).slicer[0:2, 1:3, 2:4]
    np.testing.assert_array_equal(cropped.values, expected.get_fdata())
    np.testing.assert_allclose(cropped.affine, expected.affine)
    np.testing.assert_array_equal(cropped.stored_per_value, [3, 4])
    assert cropped.source is None
    assert image.source == "headers"


def test_values_without_suv_are_no_suv() -> None:
    reason = "PatientWeight (0010,1030) is absent"
    facts = {"suv": {"reason": reason}}
    image = PETImage(VALUES, AFFINE, unit="BQML", in_suv=False, facts=facts)
    assert image.unit_name == "Bq/ml"
    assert repr(image) == "PETImage(2 × 3 × 4 voxels of 2 × 3 × 4 mm, 0 to 23 Bq/ml)"
    with pytest.raises(NoSUVError, match="PatientWeight"):
        _ = image.suv
    assert not image.with_values(2 * VALUES).in_suv


def test_values_in_suv_are_suv() -> None:
    image = PETImage(VALUES, AFFINE, unit="BQML")
    assert image.suv is image.values
    assert (image.unit_name, image.no_suv_reason) == ("SUV", "")
    assert image.shape == (2, 3, 4)


def test_a_unit_that_no_table_knows_is_its_own_name() -> None:
    image = PETImage(VALUES, AFFINE, unit="FURLONGS", in_suv=False)
    assert image.unit_name == "FURLONGS"
    assert PETImage(VALUES, AFFINE, unit="", in_suv=False).unit_name == "stored values"
