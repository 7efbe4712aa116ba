"""A scan that leads to no SUV: denoised in its own unit, every output labelled with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset

from petdiff.cli import run
from petdiff.io import read
from support.dicom_factory import pet_slices, save, tracer
from support.model_files import fresh_model_file


def pixels(slices: int) -> np.ndarray:
    """A warm body in air, in stored numbers."""
    rate = np.full((slices, 20, 24), 3.0)
    rate[:, 4:-4, 4:-4] = 400
    return np.random.default_rng(0).poisson(rate).astype(np.int16)


def dose_free(k: int, ds: Dataset) -> None:
    del tracer(ds).RadionuclideTotalDose


@pytest.fixture
def no_weight(tmp_path: Path) -> Path:
    return save(pet_slices(pixels(6), PatientWeight=None), tmp_path / "scan")


def test_suv_command_refuses_with_the_reason(
    no_weight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["suv", str(no_weight)]) == 3
    told = capsys.readouterr()
    assert "PatientWeight (0010,1030) is absent" in told.err
    assert not told.out


def test_every_output_says_the_unit(
    no_weight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["denoise", str(no_weight), "-o", str(out), "--samples", "2"]) == 0
    told = capsys.readouterr().err
    assert "Bq/ml, as stored" in told
    assert "PatientWeight" in told
    recorded = json.loads((out / "run.json").read_text())
    assert recorded["input"]["values_in"] == "Bq/ml"
    assert recorded["input"]["suv"]["factor"] is None
    assert "PatientWeight" in recorded["input"]["suv"]["reason"]
    assert recorded["activity"]["by_suv"] == []
    page = (out / "report.html").read_text()
    assert "All values are in Bq/ml, not in SUV" in page
    assert "give --suv-factor F" in page
    assert "`suv_factor`" not in page
    labels = re.sub(r"<script>.*?</script>|<details>.*?</details>", "", page, flags=re.DOTALL)
    named = re.findall(r".{0,30}\bSUV\b.{0,20}", labels)
    assert named  # it says that there is none, and nothing else
    assert all(re.search(r"no SUV|not in SUV|\(SUV = stored", text) for text in named), named
    note = nib.load(out / "uncertainty.nii.gz").header["descrip"].tobytes()
    assert note.startswith(b"BQML")


@pytest.mark.parametrize("slices", [1, 6])
@pytest.mark.parametrize(
    ("attributes", "unit"),
    [
        ({"PatientWeight": None}, "Bq/ml"),
        ({"edit": dose_free}, "Bq/ml"),
        ({"CorrectedImage": ["DECY", "NORM"]}, "Bq/ml"),
        ({"Units": "CNTS"}, "counts"),
    ],
)
def test_the_derived_series_is_in_the_unit_of_its_source(
    tmp_path: Path, slices: int, attributes: dict[str, object], unit: str
) -> None:
    source = save(pet_slices(pixels(slices), **attributes), tmp_path / "scan")  # type: ignore[arg-type]
    out = tmp_path / "out"
    assert run(["denoise", str(source), "-o", str(out), "--quiet"]) == 0
    before, after = read(source), read(out / "denoised")
    assert before.unit_name == after.unit_name == unit
    assert after.shape == before.shape
    body = np.s_[6:-6, 6:-6]
    assert after.values[body].mean() == pytest.approx(before.values[body].mean(), rel=0.03)
    assert after.values[body].std() < before.values[body].std()


def test_scale_of_the_unit_does_not_matter(tmp_path: Path) -> None:
    """The answer is the same with and without a weight, in Bq/ml and in SUV."""
    known = save(pet_slices(pixels(6)), tmp_path / "known")
    unknown = save(pet_slices(pixels(6), PatientWeight=None), tmp_path / "unknown")
    answers = []
    for source in (known, unknown):
        out = tmp_path / f"{source.name}_out"
        assert run(["denoise", str(source), "-o", str(out), "--quiet"]) == 0
        answers.append(read(out / "denoised", units="bqml", suv_factor=1).values)
    np.testing.assert_allclose(answers[0], answers[1], rtol=0.005, atol=0.005 * answers[0].max())


def test_a_model_that_works_in_suv_refuses(
    no_weight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "out", str(fresh_model_file(tmp_path, "logunet"))
    assert run(["denoise", str(no_weight), "-o", str(out), "--quiet", "--model", model]) == 3
    told = capsys.readouterr().err
    assert "logunet works on SUV, and the scan is in Bq/ml" in told
    assert "PatientWeight" in told
    assert not out.exists()


def test_evaluation_needs_suv(no_weight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared = ["evaluate", "--reference", str(no_weight), "--test", str(no_weight)]
    assert run([*compared, "-o", str(no_weight.parent / "out")]) == 3
    assert "SUV is needed" in capsys.readouterr().err


def test_info_names_options(no_weight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(no_weight)]) == 0
    assert "give --suv-factor F" in capsys.readouterr().out
    assert run(["info", str(no_weight), "--json"]) == 0
    assert "give `suv_factor` F" in json.loads(capsys.readouterr().out)["suv"]["reason"]


def test_info_gives_the_range_in_the_unit(
    no_weight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["info", str(no_weight), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["values_in"] == "Bq/ml"
    assert told["range"][1] > 400
    assert "suv_range" not in told


def test_an_unknown_unit_and_its_reason_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    noisy = np.random.default_rng(0).gamma(4, 1000, (16, 16, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(noisy, np.diag([4.0, 4.0, 4.0, 1.0])), scan)
    assert run(["denoise", str(scan), "-o", str(out)]) == 0
    told = capsys.readouterr().err
    assert "unit    not known; values as stored · nothing states the unit of scan.nii.gz" in told
    assert told.count("nothing states the unit") == 1
    page = (out / "report.html").read_text(encoding="utf-8")
    notices = page[page.index("All values are") : page.index("</ul>")]
    assert "All values are as stored, in an unknown unit, not in SUV: nothing states" in notices
    assert notices.count("nothing states the unit") == 1
