"""`petdiff evaluate`, file to file: what it writes, what it refuses, and how it gets over it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petdiff import cli
from petdiff.errors import InputRefused
from petdiff.evaluation.protocol import measure_regions, measure_scan, prepare
from petdiff.evaluation.weighted_mask import sphere_mask
from petdiff.image import PETImage
from petdiff.io import read_static, write

AFFINE = np.array([[-3.0, 0, 0, 60], [0, 3.0, 0, -54], [0, 0, 4.0, -40], [0, 0, 0, 1]])
SHAPE = (40, 36, 30)
Evaluate = Callable[..., tuple[int, str, str]]


def index_mm() -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    return np.asarray(index @ AFFINE[:3, :3].T + AFFINE[:3, 3])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A full-dose scan, a quieter test, a noisy low, organs and two lesions."""
    mm = index_mm()
    body = (mm[..., 0] / 55) ** 2 + (mm[..., 1] / 48) ** 2 < 1
    liver = np.linalg.norm(mm - (-20, 0, 20), axis=-1) < 26
    labels = body + liver.astype(int)
    suv = body + 2.0 * liver
    for x, y, z in ((30, 0, -10), (-20, 5, 20)):
        suv = suv + 8 * (np.linalg.norm(mm - (x, y, z), axis=-1) < 9)
    clean = gaussian_filter(suv, 0.8)
    grain = np.random.default_rng(0).standard_normal(SHAPE) * np.sqrt(clean + 0.01)
    scans = {
        "full": clean + 0.03 * grain,
        "test": 0.9 * clean,
        "low": clean + 0.3 * grain,
        "labels": labels,
    }
    for name, values in scans.items():
        write(PETImage(values.astype(np.float32), AFFINE), tmp_path / f"{name}.nii.gz")
    (tmp_path / "labels.json").write_text(json.dumps({"1": "muscle", "2": "liver"}))
    lesions = [
        {"centre_mm": [30, 0, -10], "radius_mm": 9, "suv": 9.0, "organ": "muscle"},
        {"centre_mm": [-20, 5, 20], "radius_mm": 9, "suv": 11.0, "organ": "liver"},
        {"centre_mm": [0, 20, 0], "radius_mm": 4, "suv": 3.0, "shape": "lobed"},
    ]
    (tmp_path / "lesions.json").write_text(json.dumps({"lesions": lesions}))
    return tmp_path


@pytest.fixture
def evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    def call(*options: object, test: str = "test.nii.gz") -> tuple[int, str, str]:
        pair = ("--reference", folder / "full.nii.gz", "--test", folder / test)
        words = ("evaluate", *pair, *options, "-o", folder / "out")
        code = cli.run([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def everything(folder: Path) -> tuple[object, ...]:
    return (
        "--low", folder / "low.nii.gz", "--labels", folder / "labels.nii.gz",
        "--lesions", folder / "lesions.json", "--quiet",
    )  # fmt: skip


def test_whole_run_writes_json_csv_and_a_table(folder: Path, evaluate: Evaluate) -> None:
    code, out, err = evaluate(*everything(folder))
    assert (code, err) == (0, "")
    results = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]
    assert list(results) == ["reference", "test", "low", "best Gaussian"]
    test = results["test"]
    assert test["activity_change"] == pytest.approx(-0.1, abs=0.005)
    assert test["regions"]["liver"]["suv_mean_bias"] == pytest.approx(-0.1, abs=0.005)
    assert test["regions"]["lesion 2 (liver)"]["suv_peak_bias"] == pytest.approx(-0.1, abs=0.02)
    assert -0.5 < test["regions"]["lesion 1 (muscle)"]["suv_mean_bias_to_truth"] < -0.1
    assert "suv_mean_bias_to_truth" not in test["regions"]["lesion 3"]
    assert test["regions"]["liver"]["cov_30mm_sphere"] is not None
    assert results["low"]["noise_level"] > results["reference"]["noise_level"]
    assert results["best Gaussian"]["psnr_db"] > results["low"]["psnr_db"]
    assert results["best Gaussian"]["fwhm_mm"] > 0
    lines = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert lines["psnr_db"][1:] == [f"{results[n]['psnr_db']:.4g}" for n in list(results)[1:]]
    assert lines["lesion 2 (liver)"][3:6] == [
        f"{100 * test['regions']['lesion 2 (liver)'][f'suv_{m}_bias']:+.1f}"
        for m in ("mean", "max", "peak")
    ]
    assert "challenge_score" in lines
    assert "muscle" in lines


def test_csv_holds_what_json_holds_one_figure_a_row(folder: Path, evaluate: Evaluate) -> None:
    assert evaluate(*everything(folder))[0] == 0
    results = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]
    with (folder / "out" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "metric", "region", "value", "unit"]
    keys = [(row["file"], row["metric"], row["region"]) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        found = results[row["file"]]
        if row["region"] not in ("body", "volume"):
            found = found["regions"][row["region"]]
        value = found[row["metric"]]
        assert (row["value"] == "") if value is None else (float(row["value"]) == value)
        assert row["unit"]
    units = {row["metric"]: row["unit"] for row in rows}
    assert (units["psnr_db"], units["suv_peak"], units["activity"]) == ("dB", "SUV", "SUV·ml")


def test_scan_against_itself_is_perfect(folder: Path, evaluate: Evaluate) -> None:
    options = everything(folder)[2:]
    assert evaluate(*options, test="full.nii.gz")[0] == 0
    results = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]
    test = results["test"]
    assert test["psnr_db"] is None
    assert test["ssim"] == pytest.approx(1, abs=1e-6)
    assert test["nrmse"] == test["activity_change"] == 0
    assert test["regions"]["all"]["challenge_score"] == pytest.approx(100, abs=1e-3)
    for region in test["regions"].values():
        for metric, value in region.items():
            if metric.endswith("_bias"):
                assert value in (0, None), metric


def test_labels_without_names_are_numbers_and_said_to_be(folder: Path, evaluate: Evaluate) -> None:
    (folder / "labels.json").unlink()
    code, out, err = evaluate("--labels", folder / "labels.nii.gz")
    assert code == 0
    assert "no .json with names" in err
    assert "label 2  " in out
    (folder / "mine.json").write_text('{"1": "muscle", "2": "liver"}')
    (folder / "out").rename(folder / "before")
    code, out, err = evaluate(
        "--labels", folder / "labels.nii.gz", "--names", folder / "mine.json", "--quiet"
    )
    assert (code, err) == (0, "")
    assert "liver  " in out


def test_lesions_may_be_a_volume(folder: Path, evaluate: Evaluate) -> None:
    from petdiff.io import read

    labels = read(folder / "labels.nii.gz")
    spots = np.zeros(SHAPE, dtype=np.float32)
    spots[10:12, 10:12, 10:12], spots[25:28, 20:22, 20:22] = 1, 1
    write(labels.with_values(spots), folder / "spots.nii.gz")
    assert evaluate("--lesions", folder / "spots.nii.gz", "--quiet")[0] == 0
    results = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]
    found = [name for name in results["test"]["regions"] if name.startswith("lesion ")]
    assert found == ["lesion 1", "lesion 2"]


def refused(outcome: tuple[int, str, str], folder: Path) -> str:
    code, out, err = outcome
    assert (code, out) == (3, "")
    assert err.startswith("petdiff: ")
    assert err.count("\n") == 1
    assert not (folder / "out").exists()
    return err


def test_other_grid_is_refused_with_the_way_out_and_resample_takes_it(
    folder: Path, evaluate: Evaluate
) -> None:
    fine = np.array([[2.0, 0, 0, -58], [0, 2.0, 0, -53], [0, 0, 2.0, -39], [0, 0, 0, 1]])
    shape = (60, 54, 58)
    axes = [fine[a, a] * np.arange(n) + fine[a, 3] for a, n in enumerate(shape)]
    mm = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    smooth = (2 + np.cos(mm / 25).prod(axis=-1)).astype(np.float32)
    coarse = (2 + np.cos(index_mm() / 25).prod(axis=-1)).astype(np.float32)
    write(PETImage(smooth, fine), folder / "fine.nii.gz")
    (folder / "full.nii.gz").unlink()
    write(PETImage(coarse, AFFINE), folder / "full.nii.gz")
    err = refused(evaluate("--quiet", test="fine.nii.gz"), folder)
    assert "--resample" in err
    assert "60 × 54 × 58" in err
    assert evaluate("--quiet", "--resample", test="fine.nii.gz")[0] == 0
    record = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))
    assert record["resampled"] is True
    assert record["results"]["test"]["nrmse"] < 0.02


def test_voxels_that_drift_apart_along_the_scan_are_another_grid(
    folder: Path, evaluate: Evaluate
) -> None:
    """2.009 for 2 mm: 3.6 mm off at the far end."""
    (folder / "full.nii.gz").unlink()
    for name, slice_mm in (("full", 2.0), ("drifting", 2.009), ("same", 2.00001)):
        suv = np.ones((8, 8, 400), dtype=np.float32)
        write(PETImage(suv, np.diag([4.0, 4.0, slice_mm, 1.0])), folder / f"{name}.nii.gz")
    assert "--resample" in refused(evaluate("--quiet", test="drifting.nii.gz"), folder)
    labels = ("--labels", folder / "drifting.nii.gz", "--quiet")
    assert "--resample" in refused(evaluate(*labels, test="same.nii.gz"), folder)
    assert evaluate("--quiet", test="same.nii.gz")[0] == 0


def test_askew_scan_is_refused_even_with_resample(folder: Path, evaluate: Evaluate) -> None:
    turn = AFFINE.copy()
    turn[:2, :2] = [[-2.6, -1.5], [-1.5, 2.6]]
    write(PETImage(np.ones(SHAPE, dtype=np.float32), turn), folder / "askew.nii.gz")
    assert "askew" in refused(evaluate("--resample", "--quiet", test="askew.nii.gz"), folder)


def test_a_scan_of_another_place_is_refused_and_one_of_a_part_warned_of(
    folder: Path, evaluate: Evaluate, caplog: pytest.LogCaptureFixture
) -> None:
    full = read_static(folder / "full.nii.gz")
    for name, moved_mm in (("far", (0, 0, 500)), ("near", (1.5, 0, 2))):
        affine = AFFINE.copy()
        affine[:3, 3] += moved_mm
        write(PETImage(full.values, affine), folder / f"{name}.nii.gz")
    part = np.ascontiguousarray(full.values[:, :, :20])
    write(PETImage(part, AFFINE), folder / "part.nii.gz")
    err = refused(evaluate("--resample", "--quiet", test="far.nii.gz"), folder)
    assert "shows 0 % of the reference's voxels" in err
    assert evaluate("--resample", "--quiet", test="near.nii.gz")[0] == 0
    assert not caplog.messages
    shutil.rmtree(folder / "out")
    assert evaluate("--resample", "--quiet", test="part.nii.gz")[0] == 0
    (said,) = caplog.messages
    assert "part.nii.gz shows 70 % of the reference's voxels" in said


def test_labels_of_another_grid_take_the_nearest_voxel(folder: Path, evaluate: Evaluate) -> None:
    from petdiff.io import read

    labels = read(folder / "labels.nii.gz")
    double = AFFINE.copy()
    double[:3, :3] /= 2
    double[:3, 3] -= AFFINE[:3, :3] @ np.full(3, 0.25)
    doubled = labels.suv.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    write(PETImage(doubled, double), folder / "doubled.nii.gz")
    names = ("--names", folder / "labels.json", "--quiet")
    assert "--resample" in refused(evaluate("--labels", folder / "doubled.nii.gz", *names), folder)
    assert evaluate("--labels", folder / "doubled.nii.gz", "--resample", *names)[0] == 0
    results = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]
    millilitres = results["test"]["regions"]["liver"]["volume_ml"]
    assert millilitres == pytest.approx((labels.suv == 2).sum() * 0.036)


def test_moved_labels_are_never_mixed(folder: Path, evaluate: Evaluate) -> None:
    from petdiff.io import read

    moved = AFFINE.copy()
    moved[:3, 3] += 0.4 * AFFINE[:3, 0]
    tens = 10 * read(folder / "labels.nii.gz").suv
    write(PETImage(tens, moved), folder / "moved.nii.gz")
    assert evaluate("--labels", folder / "moved.nii.gz", "--resample", "--quiet")[0] == 0
    results = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]
    assert set(results["reference"]["regions"]) == {"label 10", "label 20"}


def test_empty_reference_is_refused(folder: Path, evaluate: Evaluate) -> None:
    (folder / "full.nii.gz").unlink()
    write(PETImage(np.zeros(SHAPE, dtype=np.float32), AFFINE), folder / "full.nii.gz")
    assert "no activity" in refused(evaluate("--quiet"), folder)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ('{"lesions": [{"centre_mm": [0, 0, 900], "radius_mm": 5, "organ": "lung_left"}]}',
         "none of the 1 lesions lies in the scan's field of view"),
        ('{"lesions": [{"centre_mm": [0, 0, 0], "radius_mm": 5}, {"radius_mm": 5}]}', "lesion 2"),
        ('{"lesions": [{"centre_mm": [0, 0, 0], "radius_mm": -5}]}', "lesion 1"),
        ('[{"centre_mm": [0, NaN, 0], "radius_mm": 5}]', "lesion 1 lacks centre_mm"),
        ('[{"centre_mm": [0, 0, 0], "radius_mm": Infinity}]', "200 at most"),
        ('[{"centre_mm": [0, 0, 0], "radius_mm": 1e200}]', "200 at most"),
        ('[{"centre_mm": [0, 0, 0], "radius_mm": 9, "suv": NaN}]', "suv of lesion 1 is nan"),
        ('[{"centre_mm": [0, 0, 0], "radius_mm": 9, "suv": "hot"}]', "suv of lesion 1 is 'hot'"),
        ('{"spots": 3}', "no list"),
        ("not json", "not JSON"),
    ],
)  # fmt: skip
def test_lesions_that_cannot_be_measured_are_refused(
    folder: Path, evaluate: Evaluate, content: str, word: str
) -> None:
    (folder / "bad.json").write_text(content)
    err = refused(evaluate("--lesions", folder / "bad.json", "--quiet"), folder)
    assert word in err
    assert "bad.json" in err


def test_scans_in_bqml_need_a_factor_and_then_give_the_same_figures(
    folder: Path, evaluate: Evaluate
) -> None:
    assert evaluate("--quiet")[0] == 0
    in_suv = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]["test"]
    (folder / "out").rename(folder / "before")
    for name in ("full", "test"):
        image = nibabel.load(folder / f"{name}.nii.gz")
        stored = image.get_fdata(dtype=np.float32) * np.float32(4000)
        nibabel.save(nibabel.Nifti1Image(stored, image.affine), folder / f"{name}.nii.gz")
    err = refused(evaluate("--quiet"), folder)
    assert "--units bqml and --suv-factor F" in err
    assert evaluate("--quiet", "--suv-factor", 1 / 4000)[0] == 0
    found = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))
    assert found["suv_factor"] == 1 / 4000
    for name in ("psnr_db", "nrmse", "activity_change"):
        assert found["results"]["test"][name] == pytest.approx(in_suv[name], rel=1e-4)


def test_lesions_outside_the_field_are_left_out_with_a_note(
    folder: Path, evaluate: Evaluate
) -> None:
    content = json.loads((folder / "lesions.json").read_text())
    content["lesions"].insert(1, {"centre_mm": [0, 0, 900], "radius_mm": 5, "organ": "brain"})
    (folder / "more.json").write_text(json.dumps(content))
    code, out, err = evaluate("--lesions", folder / "more.json")
    assert code == 0
    assert "1 lesion outside the field of view left out: lesion 2 (brain)" in err
    assert "lesion 1 (muscle)" in out
    assert "lesion 3 (liver)" in out  # names keep their place in the list


def test_a_folder_is_no_list_of_lesions(folder: Path, evaluate: Evaluate) -> None:
    (folder / "x.json").mkdir()
    err = refused(evaluate("--lesions", folder / "x.json", "--quiet"), folder)
    assert "x.json cannot be read" in err


@pytest.mark.parametrize("name", ["body", "volume"])
def test_a_label_named_as_the_whole_image_stays_among_the_regions(
    folder: Path, evaluate: Evaluate, name: str
) -> None:
    (folder / "labels.json").write_text(json.dumps({"1": name, "2": "liver"}))
    assert evaluate("--labels", folder / "labels.nii.gz", "--quiet")[0] == 0
    test = json.loads((folder / "out" / "metrics.json").read_text("utf-8"))["results"]["test"]
    assert not {"volume_ml", "suv_mean", "suv_mean_bias", "suv_max"} & set(test)
    assert test["regions"][name]["suv_mean_bias"] == pytest.approx(-0.1, abs=0.01)
    assert {"psnr_db", "psnr_whole_db", "noise_level", "noise_level_bias"} < set(test)


def test_labels_and_names_that_are_none_are_refused(folder: Path, evaluate: Evaluate) -> None:
    assert "whole numbers" in refused(evaluate("--labels", folder / "full.nii.gz"), folder).lower()
    labels = ("--labels", folder / "labels.nii.gz", "--names", folder / "odd.json", "--quiet")
    assert "does not exist" in refused(evaluate(*labels), folder)
    (folder / "odd.json").write_text('["liver"]')
    assert "label and name" in refused(evaluate(*labels), folder)


def test_names_need_labels(folder: Path, evaluate: Evaluate) -> None:
    code, _, err = evaluate("--names", folder / "labels.json")
    assert code == 2
    assert "--labels" in err
    assert not (folder / "out").exists()


@pytest.mark.parametrize("shape", [(20, 20, 1), (1, 9, 9), (3, 3, 3)])
def test_thin_scans_are_measured_as_far_as_they_can(shape: tuple[int, int, int]) -> None:
    reference = np.full(shape, 2.0, dtype=np.float32)
    labels = np.ones(shape, dtype=np.int32)
    centre = [(n - 1) * 1.5 for n in shape]
    lesion = sphere_mask("lesion 1", centre, 1.2, shape, np.diag([3.0, 3, 3, 1]), true_suv=2.0)
    case = prepare(reference, (3.0, 3.0, 3.0), labels, {1: "liver"}, [lesion])
    rows = {(r.metric, r.region): r.value for r in measure_scan(case, 1.5 * reference)}
    assert rows["suv_mean_bias", "liver"] == pytest.approx(0.5)
    assert rows["suv_peak_bias", "lesion 1"] == pytest.approx(0.5)
    assert rows["suv_mean_bias_to_truth", "lesion 1"] == pytest.approx(0.5)
    assert rows["ssim", "body"] is None
    assert rows["cov_30mm_sphere", "liver"] is None
    regions = measure_regions(case, 1.5 * reference)
    assert {"suv_peak_bias", "suv_mean", "cov_30mm_sphere"} < {row.metric for row in regions}
    assert all(rows[row[:2]] == row.value for row in regions)


def test_a_label_called_like_a_lesion_is_refused() -> None:
    reference = np.full((9, 9, 9), 2.0, dtype=np.float32)
    labels = np.ones(reference.shape, dtype=np.int32)
    affine = np.diag([3.0, 3, 3, 1])
    lesion = sphere_mask("lesion 1", [12.0] * 3, 5.0, reference.shape, affine)
    with pytest.raises(InputRefused, match="both called 'lesion 1'"):
        prepare(reference, (3.0, 3.0, 3.0), labels, {1: "lesion 1"}, [lesion])


def test_liver_has_one_name_whatever_its_case() -> None:
    rng = np.random.default_rng(2)
    reference = (2 + 0.2 * rng.standard_normal((16, 16, 16))).astype(np.float32)
    labels = np.ones(reference.shape, dtype=np.int32)
    case = prepare(reference, (3.0, 3.0, 3.0), labels, {1: "Liver"})
    rows = measure_scan(case, 2 * reference)
    regions = {row.region for row in rows if row.metric.startswith("nps_")}
    assert regions == {"Liver"}
    assert {"nps_mean_frequency", "nps_distance"} < {row.metric for row in rows}


def test_nothing_is_relative_to_what_is_not_above_0() -> None:
    """A reference that is negative in all, as a whole and in an organ."""
    reference = np.full((40, 40, 40), -1.0, dtype=np.float32)
    reference[14:26, 14:26, 14:26] = 4
    labels = np.zeros(reference.shape, dtype=np.int32)
    labels[:8], labels[16:24, 16:24, 16:24] = 1, 2
    case = prepare(reference, (3.0, 3.0, 3.0), labels, {1: "cold", 2: "hot"})
    rows = {(r.metric, r.region): r.value for r in measure_scan(case, 1.5 * reference)}
    assert rows["suv_mean", "cold"] == -1.5
    assert rows["suv_mean_bias", "cold"] is None
    assert rows["suv_mean_bias", "hot"] == pytest.approx(0.5)
    assert rows["nrmse_whole", "volume"] is None


def test_case_is_made_once_for_many_scans() -> None:
    rng = np.random.default_rng(1)
    reference = (1 + rng.random((12, 12, 12))).astype(np.float32)
    case = prepare(reference, (3.0, 3.0, 3.0))
    rows = {f: measure_scan(case, reference * np.float32(f)) for f in (0.5, 2.0)}
    for factor, found in rows.items():
        change = next(row for row in found if row.metric == "activity_change")
        assert change.value == pytest.approx(factor - 1, abs=1e-6)
        assert (change.region, change.unit) == ("body", "1")
