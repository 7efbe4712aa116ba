"""`petdiff measure`: a table, JSON and CSV of a run's regions, or one clear line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import petdiff
from petdiff import cli
from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.io import write
from support.bids_factory import FACTOR, add_scan, data_set
from support.measured_run import ABOVE, AFFINE, BELOW, make_run, noisy_scan, tiny_model

BALL = "--sphere=-10,10,540,12"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    return make_run(folder, tiny_model(folder))


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tumour and a piece of liver."""
    labels = np.zeros((20, 20, 20), np.int16)
    labels[4:8, 4:8, 4:8], labels[10:16, 4:10, 10:16] = 1, 2
    path = tmp_path_factory.mktemp("mask") / "mask.nii.gz"
    nib.Nifti1Image(labels, AFFINE).to_filename(path)
    path.with_name("mask.json").write_text('{"1": "tumour", "2": "liver"}')
    return path


def measured(*arguments: object) -> int:
    return cli.run(["measure", *map(str, arguments), "--quiet"])


def test_table_json_and_csv_hold_the_same_figures(
    run: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert measured(run, "--mask", mask, BALL, "-o", out) == 0
    text = capsys.readouterr().out
    assert "tumour (lesion, 5.76 ml" in text
    assert "liver (organ, 19.4 ml" in text
    assert "90 % interval" in text
    assert "liver: no interval: the peak of organs was not calibrated" in text
    record = json.loads((out / "measures.json").read_text())
    assert sorted(one.name for one in out.iterdir()) == [
        "measures.csv", "measures.html", "measures.json",
    ]  # fmt: skip
    assert record["missing"] == {}
    rows = list(csv.DictReader((out / "measures.csv").open(encoding="utf-8")))
    regions = record["measurement"]["regions"]
    assert [one["name"] for one in regions] == ["tumour", "liver", "sphere"]
    assert len(rows) == 15
    for row, figure in zip(rows, (f for one in regions for f in one["figures"]), strict=True):
        for name in ("measured", "denoised", "lower", "upper"):
            assert row[name] == ("" if figure[name] is None else str(figure[name]))
    mean = regions[0]["figures"][0]
    assert f"{mean['denoised']:.4g}" in text
    assert mean["lower"] == pytest.approx((1 + BELOW) * mean["denoised"], rel=1e-5)
    assert mean["upper"] == pytest.approx((1 + ABOVE) * mean["denoised"], rel=1e-5)


def test_means_are_those_of_the_files(
    run: Path, mask: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(run, "--mask", mask, "--json") == 0
    found = json.loads(capsys.readouterr().out)["measurement"]["regions"]
    labels = np.asarray(nib.load(mask).dataobj)
    for name, path in (
        ("measured", run.parent / "low.nii.gz"),
        ("denoised", run / "denoised.nii.gz"),
    ):
        values = np.asarray(nib.load(path).dataobj)
        for number, one in enumerate(found, 1):
            mean = float(values[labels == number].mean())
            assert one["figures"][0][name] == pytest.approx(mean, rel=1e-5)


def test_python_gives_the_same(run: Path, mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(run, "--mask", mask, "--json") == 0
    command = json.loads(capsys.readouterr().out)["measurement"]
    done = petdiff.read_run(run)
    found = petdiff.measure_run(done, petdiff.read_regions(mask, done.measured), level=0.9)
    assert found.model_dump(mode="json") == command


def test_a_mask_of_another_grid_is_refused_and_can_be_resampled(
    run: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.asarray(nib.load(mask).dataobj)
    fine = np.repeat(np.repeat(np.repeat(labels, 2, 0), 2, 1), 2, 2)
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = AFFINE[:3, 3] - 0.25 * AFFINE[:3, :3].sum(axis=1)
    other = tmp_path / "fine.nii.gz"
    nib.Nifti1Image(fine, affine).to_filename(other)
    assert measured(run, "--mask", other) == 3
    assert "--resample" in capsys.readouterr().err
    assert measured(run, "--mask", other, "--resample", "--json") == 0
    found = json.loads(capsys.readouterr().out)["measurement"]["regions"]
    assert [one["volume_ml"] for one in found] == pytest.approx([5.76, 19.44])


def test_labels_that_resampling_loses_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    fine = np.zeros((40, 40, 40), np.int16)
    fine[21, 21, 21] = 1  # of an eighth of a voxel
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    path = tmp_path / "fine.nii.gz"
    nib.Nifti1Image(fine, affine).to_filename(path)
    assert measured(run, "--mask", path, "--resample") == 3
    assert "none of its labels has a voxel on the scan's grid" in capsys.readouterr().err
    fine[8:16, 8:16, 8:16] = 2
    nib.Nifti1Image(fine, affine).to_filename(path)
    assert measured(run, "--mask", path, "--resample", "--json") == 0
    regions = json.loads(capsys.readouterr().out)["measurement"]["regions"]
    assert [one["name"] for one in regions] == ["label 2"]
    assert "label 1 has no voxel on the scan's grid and is left out" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "nothing to measure"),
        (["--sphere", "1,2,3"], 2, "give X,Y,Z,R in mm"),
        (["--sphere", "a,b,c,d"], 2, "give numbers"),
        (["--sphere", "-10,10,540,-3"], 2, "a radius above 0, up to 500"),
        (["--sphere", "-10,10,540,nan"], 2, "a radius above 0, up to 500"),
        (["--sphere", "-10,10,540,1"], 3, "smaller than a voxel"),
        (["--sphere", "900,0,0,10"], 3, "less than half of sphere at (900, 0, 0) mm"),
        ([BALL, "--resample"], 2, "are for a --mask"),
        ([BALL, "--interval", "0.99"], 3, "99 calibration patients"),
        ([BALL, "--interval", "90"], 2, "--interval 90: give a level between 0 and 1, 0.9 perhaps"),
        ([BALL, "--scan", "nowhere.nii"], 3, "nowhere.nii does not exist"),
    ],
)
def test_bad_input_has_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    arguments: list[str], code: int, reason: str,
) -> None:  # fmt: skip
    assert measured(run, *arguments, "-o", tmp_path / "out") == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bad_masks_have_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.nii.gz"
    nib.Nifti1Image(np.zeros((20, 20, 20), np.int16), AFFINE).to_filename(empty)
    assert measured(run, "--mask", empty) == 3
    assert "empty mask" in capsys.readouterr().err
    assert measured(run, "--mask", run.parent / "low.nii.gz") == 3
    assert "whole numbers" in capsys.readouterr().err
    assert measured(run, "--mask", tmp_path / "none.nii") == 3
    assert "does not exist" in capsys.readouterr().err


def test_another_scan_than_the_denoised_one_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = noisy_scan(seed=1)
    write(other.with_values(1.5 * other.values), tmp_path / "other.nii.gz")
    write(PETImage(other.values[:-1], other.affine), tmp_path / "shorter.nii.gz")
    for name in ("other.nii.gz", "shorter.nii.gz"):
        assert measured(run, BALL, "--scan", tmp_path / name) == 3
        assert "is not the one that was denoised" in capsys.readouterr().err


def test_a_run_may_be_moved_with_its_scan(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.parent, tmp_path / "moved")
    moved = tmp_path / "moved" / "run"
    text = (moved / "run.json").read_text()
    (moved / "run.json").write_text(text.replace("low.nii.gz", "gone.nii.gz"))
    assert measured(moved, BALL) == 3
    assert "give its path as --scan" in capsys.readouterr().err
    assert measured(moved, BALL, "--scan", tmp_path / "moved" / "low.nii.gz") == 0
    (moved / "denoised.nii.gz").unlink()
    assert measured(moved, BALL, "--scan", tmp_path / "moved" / "low.nii.gz") == 3
    assert "lacks denoised.nii.gz" in capsys.readouterr().err
    assert measured(tmp_path, BALL) == 3
    assert "holds no run.json" in capsys.readouterr().err


def test_a_run_without_a_calibration_is_measured_and_its_interval_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(run, plain)
    record = json.loads((plain / "run.json").read_text())
    record["denoising"]["model"]["name"] = "gan3d"
    (plain / "run.json").write_text(json.dumps(record))
    assert measured(plain, BALL) == 0
    printed = capsys.readouterr().out
    assert "SUVmean" in printed
    assert "- gan3d.safetensors has no calibration" in printed
    assert measured(plain, BALL, "--interval", "0.9") == 3
    assert "has no calibration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "changed", "reason"),
    [
        ("denoising", {"steps": 2}, "2 steps were not calibrated"),
        ("denoising", {"drf": 100.0}, "the model was calibrated at 1/4 to 1/20"),
        ("options", {"voxel_mm": [5, 5, 5]}, "at a voxel size that was given"),
        # With several samples the image is that of one call.
        ("denoising", {"steps": 6, "samples": 4}, ""),
    ],
)
def test_runs_with_settings_that_were_not_calibrated_have_no_interval(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    where: str, changed: dict[str, object], reason: str,
) -> None:  # fmt: skip
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record[where] |= changed
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert measured(tmp_path / "run", BALL, "--interval", "0.9") == (3 if reason else 0)
    assert reason in capsys.readouterr().err
    assert measured(tmp_path / "run", BALL) == 0
    shown = capsys.readouterr().out
    assert reason in shown
    assert "`" not in shown  # the name of an argument in Python


@pytest.mark.real
def test_a_real_tumour_mask_is_measured(test_data: Path) -> None:
    folder = test_data / "sts_fdg" / "STS_035"
    scan = petdiff.read(folder / "dicom")
    assert isinstance(scan, PETImage)
    regions = petdiff.read_regions(folder / "PET_mask.nii.gz", scan)
    found = petdiff.measure(scan, scan, regions).regions[0]
    image, labels = (
        np.asarray(nib.load(folder / f"PET_{name}.nii.gz").dataobj) for name in ("image", "mask")
    )
    assert found.figure("mean").measured == pytest.approx(image[labels > 0].mean(), rel=1e-3)
    assert found.figure("max").measured == pytest.approx(image[labels > 0].max(), rel=1e-3)
    assert found.volume_ml == pytest.approx(35.6958, rel=1e-4)


def test_foci_are_measured_and_said_to_be_found(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(run, "--lesions", "auto", "--json") == 0
    record = json.loads(capsys.readouterr().out)["measurement"]
    first = record["regions"][0]
    assert (first["name"], first["kind"]) == ("focus 1", "focus")
    assert np.linalg.norm(np.array(first["centre_mm"]) - (-10, 10, 540)) < 4
    assert "foci were not calibrated" in first["figures"][0]["no_interval"]
    assert any("Foci were detected in the denoised scan" in note for note in record["notes"])
    assert measured(run, "--lesions", "500") == 3
    assert "no focus of 500 SUV" in capsys.readouterr().err
    assert measured(run, "--lesions", "some") == 2
    assert "--lesions some: give auto" in capsys.readouterr().err


@pytest.fixture(scope="module")
def of_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a scan of two frames, the second with twice the activity."""
    folder = tmp_path_factory.mktemp("frames")
    one = noisy_scan()
    frames = PETFrames(
        (one, one.with_values(2 * one.values)), (FrameTiming(0.0, 30.0), FrameTiming(30.0, 60.0))
    )
    write(frames, folder / "low.nii.gz")
    arguments = ["denoise", folder / "low.nii.gz", "-o", folder / "run", "--quiet"]
    assert cli.run([*map(str, arguments), "--model", str(tiny_model(folder))]) == 0
    return folder / "run"


def test_a_frame_is_measured_as_a_scan_of_its_own(
    of_frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for frame in ("1", "2"):
        assert measured(of_frames, BALL, "--kind", "lesion", "--frame", frame, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [one["frame"] for one in found] == [1, 2]
    assert "frame 2, 30 s to 90 s." in found[1]["measurement"]["notes"][0]
    first, second = (one["measurement"]["regions"][0]["figures"][0] for one in found)
    for name in ("measured", "denoised", "lower", "upper"):
        assert second[name] == pytest.approx(2 * first[name], rel=0.01)
    assert first["upper"] == pytest.approx((1 + ABOVE) * first["denoised"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ([], 2, "has 2 frames: choose one, from 1 on, as --frame"),
        (["--frame", "3"], 2, "--frame is 3, and the scan has the frames 1 to 2"),
        (["--frame", "0"], 2, "--frame"),
    ],
)
def test_a_frame_that_is_not_there_has_one_line(
    of_frames: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, reason: str
) -> None:
    assert measured(of_frames, BALL, *options) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_run_of_one_volume_has_no_frames(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(run, BALL, "--frame", "1") == 2
    assert "the scan of this run has no frames" in capsys.readouterr().err


def test_a_bids_derivative_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = add_scan(
        data_set(tmp_path / "raw"), "sub-01", values=noisy_scan().values / np.float32(FACTOR)
    )
    derivative, plain = tmp_path / "raw" / "derivatives" / "petdiff", tmp_path / "plain"
    model = str(tiny_model(tmp_path))
    for output in (derivative, plain):
        assert cli.run(["denoise", str(scan), "-o", str(output), "--model", model, "--quiet"]) == 0
    ball, found = "--sphere=-40,40,40,12", []
    for folder in (derivative, derivative / "sub-01", plain):
        capsys.readouterr()
        assert measured(folder, ball, "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["measurement"]["regions"][0]["figures"])
    assert found[0] == found[1]
    for one, other in zip(found[0], found[2], strict=True):
        for name in ("measured", "denoised", "lower", "upper"):
            assert one[name] == (other[name] and pytest.approx(other[name], rel=1e-5))
    assert found[0][0]["upper"] > found[0][0]["denoised"]
    shutil.copytree(derivative / "sub-01", derivative / "sub-02")
    assert measured(derivative, ball) == 3
    assert "results of 2 scans: give the path of one: sub-01/figures" in capsys.readouterr().err
