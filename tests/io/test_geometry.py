"""Voxel sizes: converted from the unit that is meant, refused where no scan has them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset

from petdiff.errors import InputRefused
from petdiff.io import read, write
from petdiff.io.dicom_geometry import SlicePlane, stack_affine, stack_order, stack_warnings
from petdiff.io.geometry import affine_in_mm
from support.dicom_factory import pet_slices, save


def saved(path: Path, size: float, unit: str) -> Path:
    data = np.random.default_rng(0).uniform(0.5, 3, (5, 4, 3)).astype(np.float32)
    image = nib.Nifti1Image(data, np.diag([-size, size, size, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("size", "unit", "warned"),
    [
        (4.0, "mm", False),
        (4.0, "unknown", False),
        (0.004, "meter", False),
        (4000.0, "micron", False),
        (4.0, "micron", True),
        (4.0, "meter", True),
        (0.004, "mm", True),
        (0.004, "unknown", True),
        (4000.0, "mm", True),
    ],
)
def test_voxels_of_4_mm_in_any_unit(tmp_path: Path, size: float, unit: str, warned: bool) -> None:
    path = saved(tmp_path / "scan.nii", size, unit)
    image = read(path)
    assert image.spacing_mm == pytest.approx((4, 4, 4), rel=1e-6)
    assert any("no PET scan" in w for w in image.facts["warnings"]) == warned
    # What is written lies where the source lies for other programs, too.
    write(image, tmp_path / "out.nii")
    before, after = nib.load(path), nib.load(tmp_path / "out.nii")
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()


@pytest.mark.parametrize(("shear", "named"), [(0.0, ""), (0.03, ""), (1.0, "14° off")])
def test_a_sheared_grid_is_doubted(tmp_path: Path, shear: float, named: str) -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[0, 2] = shear
    nib.save(nib.Nifti1Image(np.ones((5, 4, 3), np.float32), affine), tmp_path / "scan.nii")

    def moved(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [-10 + k * shear, 20, 100 + 4 * k]

    dicom = save(pet_slices(edit=moved), tmp_path / "dicom")
    for image in (read(tmp_path / "scan.nii"), read(dicom)):
        found = [warning for warning in image.facts["warnings"] if "right angle" in warning]
        assert len(found) == bool(named)
        assert all(named in warning for warning in found)


@pytest.mark.parametrize("size", [1e30, 1e-12, 1e12, 1e-6, 1e6])
@pytest.mark.parametrize("unit", ["mm", "unknown", "meter"])
def test_voxel_sizes_of_no_scan_are_refused(tmp_path: Path, size: float, unit: str) -> None:
    with pytest.raises(InputRefused, match=r"no PET scan has|damaged|NaN or infinite"):
        read(saved(tmp_path / "scan.nii", size, unit))


@pytest.mark.parametrize("size", [0.1, 0.2, 0.4, 50, 60])
def test_small_animals_and_coarse_grids_pass(size: float) -> None:
    affine, warnings = affine_in_mm("scan", np.diag([size, size, size, 1.0]), "millimetres")
    assert affine[0, 0] == size
    assert warnings == []


def test_an_affine_that_places_nothing_is_refused() -> None:
    for wrong in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([2.0, 2, np.inf, 1])):
        with pytest.raises(InputRefused, match=r"affine|voxels"):
            affine_in_mm("scan", wrong, None)
    flat = np.array([[2.0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    flat[2] = flat[0]
    with pytest.raises(InputRefused, match="inverted"):
        affine_in_mm("scan", flat, None)
    far = np.diag([2.0, 2, 2, 1])
    far[0, 3] = 1e20
    with pytest.raises(InputRefused, match="offsets"):
        affine_in_mm("scan", far, None)


def sagittal_plane(height_mm: float, shift_mm: float = 0.0) -> SlicePlane:
    """A slice with rows along y and columns down z, 2 mm between rows and 4 mm between columns."""
    along_row, along_column = np.array([0.0, 1, 0]), np.array([0.0, 0, -1])
    position = np.array([10 - height_mm, shift_mm - 20, 5])
    return SlicePlane("slice", position, along_row, along_column, 2.0, 4.0, 6, 5, 5.0)


@pytest.mark.parametrize(("off_mm", "refused"), [(0.12, False), (0.3, True)])
def test_a_slice_may_be_off_by_a_twentieth_of_the_step(off_mm: float, refused: bool) -> None:
    planes = [sagittal_plane(3.0 * n + off_mm * (n == 3)) for n in range(7)]
    if not refused:
        assert stack_order(planes) == list(range(7))
        return
    with pytest.raises(InputRefused, match="not evenly spaced"):
        stack_order(planes)


@pytest.mark.parametrize(("step_mm", "warned"), [(7.0, False), (8.0, True)])
def test_slices_of_5_mm_that_lie_far_apart_give_a_warning(step_mm: float, warned: bool) -> None:
    warnings = stack_warnings([sagittal_plane(step_mm * n) for n in range(7)])
    assert ["every other one may be missing" in text for text in warnings] == warned * [True]


def test_slices_are_stacked_by_their_positions_and_not_by_their_thickness() -> None:
    """Slices of 5 mm that lie 3 mm apart and are each shifted by 0.3 mm, as by a tilted gantry."""
    planes = [sagittal_plane(3.0 * n, 0.3 * n) for n in range(7)]
    order = stack_order(planes[::-1])
    assert order == [6, 5, 4, 3, 2, 1, 0]
    affine = stack_affine(planes)
    for column, row, n in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (0, 0, 6), (4, 5, 6)):
        x, y, z = np.add(planes[n].position_mm, (0, 4 * column, -2 * row))
        np.testing.assert_allclose(affine @ [column, row, n, 1], [-x, -y, z, 1])  # LPS to RAS
