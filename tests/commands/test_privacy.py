"""Nothing that names a patient, a person or a hospital leaves the DICOM files.

The names of files and folders are the caller's: they appear in messages and in run.json.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset

from petdiff import cli
from petdiff.io import read
from support.dicom_factory import dynamic_slices, pet_slices, save

MARKS = {
    "PatientName": "Zyxwvut^Qwertina", "PatientID": "PID7391155", "PatientBirthDate": "19510823",
    "OtherPatientIDs": "OTHER8822", "PatientAddress": "Xylolane 77", "AccessionNumber": "ACC55019",
    "InstitutionName": "Xylostadt Hospital", "InstitutionAddress": "Xylobeacon Road 9",
    "ReferringPhysicianName": "Rqreferrer^Markusson",
    "PerformingPhysicianName": "Rqperformer^Markusson",
    "OperatorsName": "Rqoperator^Markusson", "StationName": "STATMARK", "StudyID": "STUDYMARK4",
    "RequestingPhysician": "Rqrequester^Markusson", "PatientComments": "a xylocomment",
    "StudyDescription": "xylostudy", "DeviceSerialNumber": "SERIAL90210",
    "PatientTelephoneNumbers": "555019283", "EthnicGroup": "XYLOGROUP",
}  # fmt: skip


def unpacked(file: Path) -> bytes:
    content = file.read_bytes()
    return gzip.decompress(content) if file.suffix == ".gz" else content


def assert_names_nobody(outputs: dict[str, bytes]) -> None:
    for name, content in outputs.items():
        for keyword, mark in MARKS.items():
            for part in mark.split("^"):
                assert part.encode() not in content, f"{keyword} is in {name}"


@pytest.mark.parametrize("to", ["nifti", "dicom"])
@pytest.mark.parametrize("make", [pet_slices, dynamic_slices])
def test_outputs_beside_the_derived_series_name_no_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str, make: Callable[..., list[Dataset]]
) -> None:
    series, out = save(make(**MARKS), tmp_path / "in" / "PT"), tmp_path / "out"
    command = ["denoise", str(series), "-o", str(out), "--samples", "2", "--steps", "2", "--to", to]
    assert cli.run(command) == 0
    printed = capsys.readouterr()
    outputs = {"stdout": printed.out.encode(), "stderr": printed.err.encode()}
    files = [file for file in out.rglob("*") if file.is_file()]
    derived = [file for file in files if file.suffix == ".dcm"]
    assert bool(derived) == (to == "dicom")
    outputs |= {file.name: unpacked(file) for file in files if file not in derived}
    assert {"uncertainty.nii.gz", "preview.png", "report.html", "run.json"} <= set(outputs)
    assert ("denoised.nii.gz" in outputs) == (to == "nifti")
    assert_names_nobody(outputs)
    if make is pet_slices:
        assert_measuring_names_nobody(out, tmp_path / "measures", capsys)


def assert_measuring_names_nobody(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["measure", str(run), "--sphere=4,-27,108,5", "-o", str(folder)]) == 0
    printed = capsys.readouterr()
    outputs = {"stdout": printed.out.encode(), "stderr": printed.err.encode()}
    outputs |= {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {"measures.json", "measures.csv", "measures.html"} <= set(outputs)
    assert_names_nobody(outputs)


def test_what_is_printed_of_a_scan_names_no_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = save(pet_slices(**MARKS), tmp_path / "good")
    refused = save(pet_slices(**MARKS, PatientWeight=None, Units=None), tmp_path / "refused")
    broken = save(pet_slices(**MARKS)[:3] + pet_slices(**MARKS)[3:], tmp_path / "broken")
    for folder in (good, refused, broken):
        for command in (["suv"], ["info"], ["suv", "--json"], ["info", "--json"]):
            cli.run([command[0], str(folder), *command[1:]])
            printed = capsys.readouterr()
            assert printed.out + printed.err
            assert_names_nobody({" ".join(command): (printed.out + printed.err).encode()})
    assert_names_nobody({"repr": repr(read(good)).encode()})
