"""`petdiff thin`: the thinned scan in the form of its source, marked as simulated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from petdiff import cli
from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.io import read, write
from support.dicom_factory import pet_slices, save

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (24, 26, 28)


def ball(seed: int = 0) -> np.ndarray:
    index = np.indices(SHAPE) - np.array([12, 13, 14])[:, None, None, None]
    suv = 2.0 * ((index**2).sum(0) < 110) + 0.01
    return (suv * np.random.default_rng(seed).gamma(30, 1 / 30, SHAPE)).astype(np.float32)


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    path = tmp_path / "full.nii.gz"
    write(PETImage(ball(), AFFINE), path)
    return path


def test_volume_file_comes_back_as_one_with_a_record(
    nifti: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["thin", str(nifti), "--dose", "1/4", "--seed", "3", "--quiet"]
    assert cli.run([*arguments, "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(out / "run.json"), str(out / "thinned.nii.gz")]
    assert printed.err == ""
    low, full = read(out / "thinned.nii.gz"), read(nifti)
    np.testing.assert_array_equal(low.affine, full.affine)
    assert low.suv.std() > full.suv.std()
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (record["thinning"]["drf"], record["thinning"]["seed"]) == (4, 3)
    assert record["thinning"]["how"] == "noise"
    assert cli.run([*arguments, "-o", str(tmp_path / "again")]) == 0
    again = read(tmp_path / "again" / "thinned.nii.gz")
    assert again.suv.tobytes() == low.suv.tobytes()


def test_dicom_comes_back_as_a_derived_and_simulated_series(tmp_path: Path) -> None:
    stored = np.rint(ball().transpose(2, 1, 0) * 1000).astype(np.int16)
    source = save(pet_slices(stored, PixelSpacing=[4.0, 4.0]), tmp_path / "full")
    out = tmp_path / "out"
    assert cli.run(["thin", str(source), "--dose", "10%", "-o", str(out), "--quiet"]) == 0
    files = sorted((out / "thinned").iterdir())
    assert len(files) == SHAPE[2]
    header = dcmread(files[0])
    assert header.ImageType[0] == "DERIVED"
    assert header.ImageType[-1] == "SIMULATED"
    assert "DENOISED" not in header.ImageType
    assert header.SeriesDescription.startswith("SIMULATED 1/10 dose")
    assert header.DerivationDescription.startswith("Simulated at 1/10 of the dose, not measured")
    assert header.ContributingEquipmentSequence[-1].ManufacturerModelName == "thin"
    low, full = read(out / "thinned"), read(source)
    assert low.suv.mean() == pytest.approx(full.suv.mean(), rel=0.02)
    added = (low.suv - full.suv)[full.suv > 1]
    assert added.std() > 0.2


def test_frames_give_the_mean_of_some_and_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tuple(PETImage(ball(seed), AFFINE) for seed in range(4))
    timings = tuple(FrameTiming(60.0 * n, 60.0) for n in range(4))
    source = tmp_path / "frames.nii.gz"
    write(PETFrames(images, timings), source)
    out = tmp_path / "out"
    assert cli.run(["thin", str(source), "--dose", "1/4", "-o", str(out), "--quiet"]) == 0
    names = sorted(entry.name for entry in out.iterdir())
    assert names == ["full.nii.gz", "run.json", "thinned.nii.gz"]
    low = read(out / "thinned.nii.gz").suv
    assert any(np.allclose(low, image.suv, rtol=1e-5) for image in images)
    nrrd = ["thin", str(source), "--dose", "1/4", "-o", str(tmp_path / "nrrd"), "--to", "nrrd"]
    assert cli.run(nrrd) == 2
    assert "--to nrrd: the mean of frames is written as NIfTI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--dose", "1"], 2, "--dose 1 is the full dose: give a share between 0 and 1, as"),
        (["--dose", "4"], 2, "1/4"),
        ([], 2, "--dose"),
        (["--dose", "1/4", "--to", "dicom"], 2, "not DICOM"),
        (["--dose", "1/4", "--to", "bids"], 2, "--to"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(
    nifti: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    says: str,
) -> None:
    assert cli.run(["thin", str(nifti), *options, "-o", str(tmp_path / "out"), "--quiet"]) == code
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("petdiff: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "leave it out" not in lines[0]  # the dose is what is wanted
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["full.nii.gz"]
