"""`petdiff denoise --interval`: two volumes beside the result, or one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import petdiff
from petdiff import cli
from petdiff.errors import InputRefused, UsageError
from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.io import read_static, write
from petdiff.io.bids_dataset import find_bids_scans
from petdiff.methods.model import load_model
from petdiff.uncertainty.calibration.conformal import Bounds
from petdiff.uncertainty.calibration.record import (
    BoundsOfGroup,
    Calibration,
    FigureCalibration,
    save_calibration,
)
from petdiff.uncertainty.calibration.scale import ErrorScale
from petdiff.uncertainty.intervals import calibration_of, voxel_intervals
from support.bids_factory import FACTOR, add_scan, body, data_set
from support.model_files import fresh_model_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny network with a calibration whose intervals are the activity times −½ to 1."""
    path = fresh_model_file(tmp_path)
    bounds = {"0.5": Bounds(-0.2, 0.2), "0.9": Bounds(-0.5, 1)}
    voxel = FigureCalibration(
        figure="voxel",
        scale=ErrorScale(coefficients={"activity": 1.0}),
        errors=100,
        groups=(
            BoundsOfGroup(patients=30, bounds=bounds),
            BoundsOfGroup(facts={"drf": "4"}, patients=20, bounds={"0.9": Bounds(-0.5, 2)}),
        ),
    )
    made = Calibration(
        weights_sha256=load_model(path).sha256, steps=1, patients="toys", voxel_mm=(4, 6),
        figures=(voxel,),
    )  # fmt: skip
    save_calibration(path, made)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    suv = np.random.default_rng(0).gamma(8, 1 / 4, (16, 18, 20)).astype(np.float32)
    path = tmp_path / "low.nii.gz"
    write(PETImage(suv, np.diag([4.0, 4, 4, 1])), path)
    return path


def test_both_bounds_are_written_and_recorded(scan: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["denoise", scan, "-o", out, "--model", model, "--interval", 0.9, "--quiet"]
    assert cli.run([str(one) for one in arguments]) == 0
    lower, image, upper = (
        petdiff.read(out / f"{name}.nii.gz") for name in ("lower", "denoised", "upper")
    )
    assert (lower.values <= image.values).all()
    assert (image.values < upper.values).all()
    assert '"interval": 0.9' in (out / "run.json").read_text()
    again = voxel_intervals(petdiff.read(scan), image, calibration_of(model), 0.9)
    np.testing.assert_allclose(again.lower.values, lower.values, rtol=1e-5)
    np.testing.assert_allclose(again.upper.values, upper.values, rtol=1e-5)


def test_each_frame_has_the_bounds_of_a_scan_of_its_own(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = read_static(scan)
    frames = [one.with_values(share * one.values) for share in (0, 1, 3)]
    times = [FrameTiming(10.0 * n, 10.0) for n in range(3)]
    path, out = tmp_path / "dynamic.nii.gz", tmp_path / "out"
    write(PETFrames(tuple(frames), tuple(times)), path)
    arguments = ["denoise", path, "-o", out, "--model", model, "--interval", 0.9]
    assert cli.run([str(word) for word in arguments]) == 0
    assert "no activity in frame 1: it was not changed" in capsys.readouterr().err
    lower, image, upper = (
        petdiff.read(out / f"{name}.nii.gz") for name in ("lower", "denoised", "upper")
    )
    for n, frame in enumerate(frames):
        again = voxel_intervals(frame, image[n], calibration_of(model), 0.9)
        np.testing.assert_allclose(lower[n].values, again.lower.values, rtol=1e-5)
        np.testing.assert_allclose(upper[n].values, again.upper.values, rtol=1e-5)
    assert [timing.start_s for timing in upper.timings] == [0, 10, 20]


def test_a_bids_derivative_holds_the_bounds_in_the_unit_of_the_scan(
    model: Path, tmp_path: Path
) -> None:
    raw, plain = data_set(tmp_path / "raw"), tmp_path / "plain"
    path = add_scan(raw, "sub-01", values=body(shape=(16, 16, 16)))
    derivative = raw / "derivatives" / "petdiff"
    for output in (derivative, plain):
        arguments = ["denoise", path, "-o", output, "--model", model, "--interval", 0.9, "--quiet"]
        assert cli.run([str(word) for word in arguments]) == 0
    for name, label in (("lower", "lowerBound"), ("upper", "upperBound")):
        file = derivative / "sub-01" / "pet" / f"sub-01_desc-{label}_pet.nii.gz"
        in_suv = nib.load(plain / f"{name}.nii.gz").get_fdata()
        np.testing.assert_allclose(nib.load(file).get_fdata() * FACTOR, in_suv, rtol=1e-5)
        keys = json.loads(file.with_name(f"sub-01_desc-{label}_pet.json").read_text())
        assert keys["Petdiff"]["IntervalLevel"] == 0.9
        assert keys["Description"].lower().startswith(f"{name} bound of the interval")
        assert keys["Units"] == "Bq/mL"
    (scan,) = find_bids_scans(derivative)
    assert scan.name == "sub-01_desc-denoised"


def test_a_known_dose_has_the_bounds_of_its_own(scan: Path, model: Path) -> None:
    image = petdiff.read(scan)
    calibration = calibration_of(model)
    unknown, quarter = (
        voxel_intervals(image, image, calibration, 0.9, drf=drf).upper.values for drf in (None, 4.0)
    )
    np.testing.assert_allclose(quarter - image.values, 2 * (unknown - image.values), rtol=1e-4)
    with pytest.raises(InputRefused, match="the dose is 1/3, and the model was calibrated at 1/4"):
        voxel_intervals(image, image, calibration, 0.9, drf=3.0)


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--interval", "0.99"], 3, "it takes 99 calibration patients, and the model has 30"),
        (["--interval", "0.7"], 3, "use one of the calibrated levels, 0.5, 0.9"),
        (["--interval", "90"], 2, "--interval 90: give a level between 0 and 1, 0.9 perhaps"),
        (["--interval", "0.9", "--dose", "1/100"], 3, "the dose is 1/100, and the model was"),
        (["--interval", "0.9", "--steps", "3"], 2, "3 steps were not calibrated"),
        (["--interval", "0.9", "--voxel-size", "6,6,6"], 2, "leave --voxel-size out"),
        (["--interval", "nan"], 2, "--interval nan: give a level between 0 and 1, as 0.9"),
        (["--interval", "1"], 2, "--interval 1: give a level between 0 and 1, as 0.9"),
        (["--interval", "0.9", "--model", "gan3d"], 3, "gan3d.safetensors has no calibration"),
    ],
)
def test_what_cannot_be_has_one_line_and_writes_nothing(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], code: int, reason: str,
) -> None:  # fmt: skip
    arguments = ["denoise", str(scan), "-o", str(tmp_path / "out"), "--quiet"]
    assert cli.run([*arguments, "--model", str(model), *options]) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_info_says_what_the_intervals_of_a_model_rest_on(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["info", str(model)]) == 0
    assert "at 0.5, 0.9, from toys" in capsys.readouterr().out
    assert cli.run(["info", "gan3d"]) == 0
    assert "none: gan3d.safetensors has no calibration" in capsys.readouterr().out


def test_a_scan_of_other_voxels_is_refused(model: Path, tmp_path: Path) -> None:
    fine = PETImage(np.ones((8, 8, 8), np.float32), np.diag([1.65, 1.65, 1.65, 1]))
    with pytest.raises(InputRefused, match=r"voxels of 1\.65 mm"):
        voxel_intervals(fine, fine, calibration_of(model))


def test_scans_on_other_grids_are_refused(model: Path) -> None:
    one, other = (PETImage(np.ones((8, 8, n), np.float32), np.diag([4.0, 4, 4, 1])) for n in (8, 9))
    with pytest.raises(UsageError, match="different grids"):
        voxel_intervals(one, other, calibration_of(model))
