from pathlib import Path

import numpy as np
from nibabel import orientations

import petdiff
from petdiff.data.fingerprint import fingerprint, was_trained_on
from petdiff.image import PETImage

SUV = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
SCAN = PETImage(SUV, np.diag([4.0, 4.0, 3.0, 1.0]))


def test_a_copy_in_another_file_form_or_orientation_is_recognised(tmp_path: Path) -> None:
    petdiff.write(SCAN, tmp_path / "scan.nii.gz")
    assert fingerprint(petdiff.read(tmp_path / "scan.nii.gz")) == fingerprint(SCAN)
    to_lps = orientations.axcodes2ornt("LPS")
    turned = orientations.apply_orientation(SUV, to_lps)
    affine = SCAN.affine @ orientations.inv_ornt_aff(to_lps, SUV.shape)
    assert fingerprint(PETImage(np.ascontiguousarray(turned), affine)) == fingerprint(SCAN)


def test_another_scan_is_another() -> None:
    other = SUV.copy()
    other[3, 3, 3] = np.nextafter(other[3, 3, 3], np.float32(2))
    assert fingerprint(SCAN.with_values(other)) != fingerprint(SCAN)
    reshaped = PETImage(SUV.reshape(6, 7, 5), SCAN.affine)
    assert fingerprint(reshaped) != fingerprint(SCAN)


def test_a_training_patient_is_recognised() -> None:
    assert was_trained_on(SCAN, [fingerprint(SCAN)])
    assert not was_trained_on(SCAN, ["0" * 64])
    assert not was_trained_on(SCAN, [])
