"""Full-dose scans are found wherever they lie, and it is known whose they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from petdiff.data.full_dose import find_full_dose
from petdiff.image import PETImage
from petdiff.io import write
from support.dicom_factory import pet_slices, save


def volume(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(PETImage(np.ones((4, 4, 4), np.float32), np.diag([4.0, 4, 4, 1])), path)


def test_series_of_one_patient_id_are_one_patients_in_any_nesting(tmp_path: Path) -> None:
    for folder, patient in (("a/1", "DOE"), ("a/2", "ROE"), ("b/deep/3", "DOE")):
        save(pet_slices(PatientID=patient), tmp_path / folder)
    said: list[str] = []
    scans = find_full_dose(tmp_path, notify=said.append)
    first, other, again = (scan.patient for scan in scans)
    assert first == again != other
    assert "DOE" not in first
    assert "3 full-dose scans of 2 patients" in said[0]
    assert scans[0].read().shape == (7, 6, 5)


def test_without_patient_ids_that_differ_each_entry_is_a_patient(tmp_path: Path) -> None:
    for folder in ("p1/early", "p1/late", "p2"):
        save(pet_slices(PatientID="ANONYMOUS"), tmp_path / folder)
    volume(tmp_path / "p3.nii.gz")
    scans = find_full_dose(tmp_path, notify=lambda line: None)
    assert [scan.patient for scan in scans] == ["p1", "p1", "p2", "p3.nii.gz"]


def test_a_copy_beside_dicom_of_one_patient_is_of_this_patient(tmp_path: Path) -> None:
    for folder, patient in (("a", "DOE"), ("b", "ROE"), ("c/1", "DOE"), ("c/2", "ROE")):
        save(pet_slices(PatientID=patient), tmp_path / folder / "dicom")
    for folder in "abc":
        volume(tmp_path / folder / "copy.nii.gz")
    patients = {scan.name: scan.patient for scan in find_full_dose(tmp_path, notify=lambda _: None)}
    assert patients["a_copy"] == patients["a_dicom"] == patients["c_1_dicom"]
    assert patients["b_copy"] == patients["b_dicom"] != patients["a_copy"]
    assert patients["c_copy"] == "c"  # of either


def test_low_doses_and_what_lies_beside_a_full_scan_are_no_full_dose_scans(tmp_path: Path) -> None:
    for name in ("p1/full", "p1/truth", "p2/scan", "p3/low_drf4", "1-20 dose/p4"):
        volume(tmp_path / f"{name}.nii.gz")
    said: list[str] = []
    scans = find_full_dose(tmp_path, notify=said.append)
    assert [scan.name for scan in scans] == ["p1_full", "p2_scan"]
    assert said[:2] == [
        "1-20 dose_p4: left out, its name states 1/20 dose",
        "p3_low_drf4: left out, its name states 1/4 dose",
    ]
    assert find_full_dose(tmp_path / "p3", notify=said.append) == []
