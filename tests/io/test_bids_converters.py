"""SUV from what dcm2niix and pypet2bids make of a DICOM series equals SUV from the series."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io import read, read_static, read_suv
from support.dicom_factory import dynamic_slices, pet_slices, save, tracer

pytestmark = pytest.mark.oracle

INJECTED_S = -6600  # from the start of the series: 9:00 and 10:50


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def converted(dicom: Path, folder: Path, **keys: Any) -> Path:
    """The NIfTI file that dcm2niix makes, its sidecar completed by what only a person knows."""
    folder.mkdir()
    command = [program("dcm2niix"), "-b", "y", "-ba", "n", "-z", "y", "-f", "scan"]
    done = subprocess.run([*command, "-o", str(folder), str(dicom)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    sidecar = folder / "scan.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | keys))
    return folder / "scan.nii.gz"


def frames_of(scan: PETImage | PETFrames) -> list[np.ndarray]:
    """SUV of each frame [i, j, k], with axes to the right, front and head."""
    frames = scan.frames if isinstance(scan, PETFrames) else (scan,)
    images = [nib.Nifti1Image(frame.suv, frame.affine) for frame in frames]
    return [nib.as_closest_canonical(image).get_fdata() for image in images]


def assert_same_suv(dicom: Path, nifti: Path) -> None:
    pairs = zip(frames_of(read(dicom)), frames_of(read(nifti)), strict=True)
    for by_header, by_sidecar in pairs:
        np.testing.assert_allclose(by_sidecar, by_header, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"DecayCorrection": "ADMIN"},
        {"DecayCorrection": "NONE"},
        {"Units": "GML"},
        {"PatientWeight": 71_500},
        {"ActualFrameDuration": 1_200_000, "DecayCorrection": "NONE"},
    ],
    ids=str,
)
def test_dcm2niix_with_the_time_of_injection(tmp_path: Path, attributes: dict[str, Any]) -> None:
    slopes = [1e-3] * 5 if "Units" in attributes else None
    dicom = save(pet_slices(slopes=slopes, **attributes), tmp_path / "dicom")
    assert_same_suv(dicom, converted(dicom, tmp_path / "nifti", InjectionStart=INJECTED_S))


def test_dcm2niix_of_a_dose_that_the_header_has_in_megabecquerel(tmp_path: Path) -> None:
    def in_mbq(k: int, ds: Any) -> None:
        tracer(ds).RadionuclideTotalDose = 350

    dicom = save(pet_slices(edit=in_mbq), tmp_path / "dicom")
    nifti = converted(dicom, tmp_path / "nifti", InjectionStart=INJECTED_S)
    assert_same_suv(dicom, nifti)
    assert any("taken as 350 MBq" in warning for warning in read_suv(nifti).warnings)


@pytest.mark.parametrize("correction", ["START", "NONE"])
def test_dcm2niix_of_a_dynamic_series(tmp_path: Path, correction: str) -> None:
    durations_s = (60.0, 600.0, 1800.0)
    dicom = save(dynamic_slices(durations_s, DecayCorrection=correction), tmp_path / "dicom")
    nifti = converted(dicom, tmp_path / "nifti", InjectionStart=INJECTED_S)
    assert_same_suv(dicom, nifti)
    by_header, by_sidecar = read(dicom), read(nifti)
    assert isinstance(by_header, PETFrames)
    assert isinstance(by_sidecar, PETFrames)
    assert by_sidecar.timings == by_header.timings


def test_dcm2niix_alone_does_not_say_when_the_dose_was_injected(tmp_path: Path) -> None:
    dicom = save(pet_slices(), tmp_path / "dicom")
    image = read_static(converted(dicom, tmp_path / "nifti"))
    assert not image.in_suv
    assert "no InjectionStart" in image.no_suv_reason


def test_pypet2bids_in_a_data_set_with_weights(tmp_path: Path) -> None:
    """It leaves the weight out; that is in participants.tsv."""
    convert = program("dcm2niix4pet")
    dicom = save(pet_slices(), tmp_path / "dicom")
    name = tmp_path / "raw" / "sub-01" / "ses-1" / "pet" / "sub-01_ses-1_pet.nii.gz"
    name.parent.mkdir(parents=True)
    given = ["--kwargs", f"InjectionStart={INJECTED_S}", "TracerRadionuclide=F18"]
    home = {"PET2BIDS_DCM2NIIX_PATH": program("dcm2niix"), "HOME": str(tmp_path)}
    command = [convert, str(dicom), "--destination-path", str(name), *given]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | home)
    table = "participant_id\tweight\nsub-01\t70\n"
    (tmp_path / "raw" / "participants.tsv").write_text(table)
    assert name.is_file(), done.stdout + done.stderr
    assert_same_suv(dicom, name)


@pytest.mark.real
@pytest.mark.parametrize("patient", ["001", "007", "013", "022", "035", "048"])
def test_dcm2niix_of_a_patient(test_data: Path, tmp_path: Path, patient: str) -> None:
    dicom = test_data / "sts_fdg" / f"STS_{patient}" / "dicom"
    assert_same_suv(dicom, converted(dicom, tmp_path / "nifti"))


@pytest.mark.real
@pytest.mark.parametrize("name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_3_0", "DRO_4_0", "DRO_4_2"])
def test_dcm2niix_of_a_reference_object(test_data: Path, tmp_path: Path, name: str) -> None:
    """In each, the injection was an hour before the series."""
    dicom = test_data / "suv_dro" / name / "PT"
    assert_same_suv(dicom, converted(dicom, tmp_path / "nifti", InjectionStart=-3600))
