"""`petdiff denoise` on volume files: out in the form and unit that came in, with what is doubtful.

Scans are as tiny as the network's grid allows, so that each run takes a second.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from petdiff import cli
from petdiff.image import PETImage
from petdiff.io import read, write
from support.dicom_factory import pet_slices, save

AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])


def ball(level: float = 1.0) -> np.ndarray:
    index = np.indices((16, 16, 16)) - 7.5
    noise = np.random.default_rng(0).gamma(8, 1 / 8, (16, 16, 16))
    return (level * noise * ((index**2).sum(0) < 50)).astype(np.float32)


@pytest.mark.parametrize(
    ("given", "options", "written"),
    [
        ("scan.nrrd", (), "denoised.nrrd"),
        ("scan.mhd", (), "denoised.mha"),
        ("scan.nrrd", ("--to", "nifti"), "denoised.nii.gz"),
        ("scan.nii", ("--to", "mha"), "denoised.mha"),
    ],
)
def test_the_form_that_came_in_or_is_asked_for(
    tmp_path: Path, given: str, options: tuple[str, ...], written: str
) -> None:
    pytest.importorskip("SimpleITK", reason="the extra `formats` is not installed")
    write(PETImage(ball(), AFFINE), tmp_path / given)
    out = tmp_path / "out"
    assert cli.run(["denoise", str(tmp_path / given), "-o", str(out), "--quiet", *options]) == 0
    result = read(out / written)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-5)
    assert result.values.sum() == pytest.approx(ball().sum(), rel=0.05)


def test_a_series_that_was_denoised_before_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save(pet_slices(), tmp_path / "scan")
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert cli.run(["denoise", str(scan), "-o", str(once)]) == 0
    assert "denoised before" not in capsys.readouterr().err
    assert cli.run(["denoise", str(once / "denoised"), "-o", str(twice)]) == 0
    assert (
        "warning ImageType (0008,0008) has DENOISED: this scan was denoised before"
        in capsys.readouterr().err
    )
    told = [(out / "report.html").read_text("utf-8") for out in (once, twice)]
    assert ["this scan was denoised before" in page for page in told] == [False, True]


def test_bqml_without_a_sidecar_is_denoised_as_it_is_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The factor is no power of two, and rounding to bfloat16 would hide what the unit changes.
    monkeypatch.setenv("PETDIFF_PRECISION", "float32")
    nib.save(nib.Nifti1Image(ball(4000), AFFINE), tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    assert cli.run(["denoise", str(tmp_path / "scan.nii.gz"), "-o", str(out)]) == 0
    err = capsys.readouterr().err
    assert "probably Bq/ml" in err
    assert "--units bqml and --suv-factor F" in err
    record = json.loads((out / "run.json").read_text("utf-8"))
    assert "probably Bq/ml" in record["input"]["suv"]["reason"]
    assert "probably Bq/ml" in (out / "report.html").read_text("utf-8")
    written = nib.load(out / "denoised.nii.gz").get_fdata()
    assert written.sum() == pytest.approx(ball(4000).sum(), rel=0.05)
    # Told otherwise, the same file is SUV and comes back in its own unit all the same.
    again = tmp_path / "again"
    command = ["denoise", str(tmp_path / "scan.nii.gz"), "-o", str(again), "--quiet"]
    assert cli.run([*command, "--units", "bqml", "--suv-factor", "0.00025"]) == 0
    written_again = nib.load(again / "denoised.nii.gz").get_fdata()
    np.testing.assert_allclose(written_again, written, rtol=0.01, atol=2)
    assert json.loads((again / "run.json").read_text("utf-8"))["input"]["suv"]["factor"] == 0.00025
