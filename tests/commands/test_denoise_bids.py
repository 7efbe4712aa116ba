"""`petdiff denoise` from a BIDS data set into a derivative of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff import __version__, cli
from petdiff.io import read_static
from petdiff.io.bids_dataset import find_bids_scans
from support.bids_factory import FACTOR, KEYS, add_scan, body, data_set

NAME = "sub-01_ses-1_trc-FDG_rec-osem_run-1"
VALUES = body(shape=(16, 16, 16))
FRAMES = KEYS | {"FrameTimesStart": [0, 300], "FrameDuration": [300, 900]}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return data_set(tmp_path / "raw")


def denoise(scan: Path, output: Path, *options: str) -> int:
    return cli.run(["denoise", str(scan), "-o", str(output), "--quiet", *options])


def derivatives(root: Path) -> Path:
    return root / "derivatives" / "petdiff"


def keys_of(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def test_a_scan_is_added_under_its_own_name_with_its_keys_and_provenance(raw: Path) -> None:
    path = add_scan(raw, NAME, values=VALUES)
    assert denoise(path, derivatives(raw), "--samples", "2", "--steps", "2", "--seed", "5") == 0
    folder = derivatives(raw) / "sub-01" / "ses-1" / "pet"
    expected = [f"{NAME}_desc-{what}_pet" for what in ("denoised", "uncertainty")]
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(
        f"{stem}{suffix}" for stem in expected for suffix in (".json", ".nii.gz")
    )
    for stem in expected:
        keys = keys_of(folder / f"{stem}.json")
        assert {key: keys[key] for key in KEYS} == KEYS
        assert keys["Sources"] == [f"bids:raw:sub-01/ses-1/pet/{path.name}"]
        made = keys["Petdiff"]
        assert (made["Model"], made["Version"]) == ("flow3d", __version__)
        assert (made["Samples"], made["Steps"], made["Seed"]) == (2, 2, 5)
        assert len(made["ModelSHA256"]) == 64
    description = keys_of(derivatives(raw) / "dataset_description.json")
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Version"] == __version__
    link = description["DatasetLinks"]["raw"]
    assert (derivatives(raw) / link).resolve() == raw.resolve()


def test_values_are_those_of_a_run_without_bids_in_the_unit_of_the_scan(raw: Path) -> None:
    path = add_scan(raw, "sub-01", values=VALUES)
    assert denoise(path, derivatives(raw), "--samples", "2", "--steps", "2") == 0
    assert denoise(path, raw.parent / "plain", "--samples", "2", "--steps", "2") == 0
    plain = nib.load(raw.parent / "plain" / "denoised.nii.gz").get_fdata()
    folder = derivatives(raw) / "sub-01" / "pet"
    denoised = folder / "sub-01_desc-denoised_pet.nii.gz"
    np.testing.assert_array_equal(nib.load(denoised).get_fdata(), plain)
    assert read_static(denoised).values.max() == pytest.approx(plain.max() * FACTOR, rel=1e-5)
    in_suv = nib.load(raw.parent / "plain" / "uncertainty.nii.gz").get_fdata()
    uncertainty = nib.load(folder / "sub-01_desc-uncertainty_pet.nii.gz").get_fdata()
    np.testing.assert_allclose(uncertainty * FACTOR, in_suv, rtol=1e-5)


def test_keys_of_folders_above_and_of_tables_are_carried_over(raw: Path) -> None:
    path = add_scan(raw, "sub-01", {"FrameDuration": [1200]}, values=VALUES)
    (raw / "pet.json").write_text(json.dumps({**KEYS, "PatientWeight": None}))
    (raw / "participants.tsv").write_text("participant_id\tweight\nsub-01\t80\n")
    assert denoise(path, derivatives(raw)) == 0
    keys = keys_of(derivatives(raw) / "sub-01" / "pet" / "sub-01_desc-denoised_pet.json")
    assert keys["FrameDuration"] == [1200]
    assert keys["TracerName"] == "FDG"
    assert keys["PatientWeight"] == 80


def test_keys_that_name_a_person_are_left_out(raw: Path) -> None:
    private = {"PatientName": "Secret", "PatientID": "1", "AccessionNumber": "2", "StudyID": "3"}
    path = add_scan(raw, "sub-01", KEYS | private | {"PatientSex": "F"}, values=VALUES)
    assert denoise(path, derivatives(raw)) == 0
    keys = keys_of(derivatives(raw) / "sub-01" / "pet" / "sub-01_desc-denoised_pet.json")
    assert not set(private) & set(keys)
    assert keys["PatientSex"] == "F"


def test_a_second_scan_is_added_to_the_same_data_set_and_none_twice(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sub-01", "sub-02"):
        assert denoise(add_scan(raw, name, values=VALUES), derivatives(raw)) == 0
    found = find_bids_scans(derivatives(raw))
    assert [scan.name for scan in found] == ["sub-01_desc-denoised", "sub-02_desc-denoised"]
    before = sorted(derivatives(raw).rglob("*"))
    capsys.readouterr()
    assert denoise(raw / "sub-02", derivatives(raw)) == 2
    assert "exists: remove the scan's results" in capsys.readouterr().err
    assert sorted(derivatives(raw).rglob("*")) == before


def test_frames_keep_their_times(raw: Path) -> None:
    path = add_scan(raw, "sub-01", FRAMES, values=np.stack([VALUES, 2 * VALUES], axis=3))
    assert denoise(path, derivatives(raw)) == 0
    keys = keys_of(derivatives(raw) / "sub-01" / "pet" / "sub-01_desc-denoised_pet.json")
    assert (keys["FrameTimesStart"], keys["FrameDuration"]) == ([0, 300], [300, 900])
    figures = derivatives(raw) / "sub-01" / "figures"
    names = {entry.name for entry in figures.iterdir()}
    assert names == {
        f"sub-01_desc-denoised_{what}"
        for what in ("frames.png", "preview.png", "report.html", "run.json")
    }


def test_the_folder_decides_where_no_form_is_asked_for(raw: Path, tmp_path: Path) -> None:
    path = add_scan(raw, "sub-01", values=VALUES)
    assert denoise(path, tmp_path / "out") == 0
    assert (tmp_path / "out" / "denoised.nii.gz").is_file()
    assert denoise(path, tmp_path / "set", "--to", "bids") == 0
    assert [scan.name for scan in find_bids_scans(tmp_path / "set")] == ["sub-01_desc-denoised"]
    assert denoise(path, tmp_path / "derivatives" / "x", "--to", "nifti") == 0
    assert (tmp_path / "derivatives" / "x" / "denoised.nii.gz").is_file()


@pytest.mark.parametrize("other", ["none", "program", "source", "damaged"])
def test_another_data_set_is_left_alone(
    raw: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = add_scan(raw, "sub-01", values=VALUES)
    folder = derivatives(raw)
    (folder / "sub-09").mkdir(parents=True)
    own = {"GeneratedBy": [{"Name": "petdiff"}], "DatasetLinks": {"raw": "../../other"}}
    content = {
        "program": json.dumps(own | {"GeneratedBy": [{"Name": "petprep"}]}),
        "source": json.dumps(own),
        "damaged": "{",
    }
    if other in content:
        (folder / "dataset_description.json").write_text(content[other])
    before = sorted(folder.rglob("*"))
    assert denoise(path, folder) in (2, 3)
    assert str(folder) in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_other_scans_have_no_place_in_a_bids_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nib.save(nib.Nifti1Image(VALUES, np.eye(4)), tmp_path / "scan.nii.gz")
    assert denoise(tmp_path / "scan.nii.gz", tmp_path / "out", "--to", "bids") == 2
    assert "--to bids: scan.nii.gz is not a PET scan of a BIDS data set" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_a_failed_run_leaves_no_derivative(raw: Path) -> None:
    path = add_scan(raw, "sub-01", values=VALUES * np.nan)
    assert denoise(path, derivatives(raw)) == 3
    assert not (raw / "derivatives").exists()


@pytest.mark.oracle
def test_the_validator_finds_no_error_in_the_derivative(raw: Path) -> None:
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    samples, interval = ("--samples", "2", "--steps", "2"), ("--interval", "0.9")
    frames = np.stack([VALUES, 2 * VALUES], axis=3)
    scans = {
        NAME: (KEYS, VALUES, samples),
        "sub-02": (FRAMES, frames, samples),
        "sub-03_ses-1": (KEYS, VALUES, interval),
        "sub-04": (FRAMES, frames, interval),
    }
    for name, (keys, values, options) in scans.items():
        assert denoise(add_scan(raw, name, keys, values=values), derivatives(raw), *options) == 0
    assert len([*derivatives(raw).rglob("*_desc-lowerBound_pet.nii.gz")]) == 2
    for folder in (raw, derivatives(raw)):
        done = subprocess.run([validator, "--json", str(folder)], capture_output=True, text=True)
        issues = json.loads(done.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue["severity"] == "error"] == []
        assert done.returncode == 0
