"""Real and reference DICOM series in: the voxels that other programs and their makers name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io import read, read_suv


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
