"""Reading a run back: both scans in one unit, whatever the files hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io import write
from petdiff.measurement.stored_run import read_run
from support.measured_run import noisy_scan, tiny_model

FACTOR = 0.0004


def test_a_run_in_becquerel_is_read_in_suv(tmp_path: Path) -> None:
    scan, path = noisy_scan(), tmp_path / "low.nii.gz"
    write(PETImage(scan.values / np.float32(FACTOR), scan.affine), path)
    model = str(tiny_model(tmp_path))
    request = Request(path, model, units="bqml", suv_factor=FACTOR)
    denoise_scan(request, tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.measured.in_suv
    assert run.denoised.in_suv
    np.testing.assert_allclose(run.measured.values, scan.values, rtol=1e-5)
    means = [float(one.values.mean()) for one in (run.measured, run.denoised)]
    assert means[1] == pytest.approx(means[0], rel=0.02)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="does not exist"):
        read_run(tmp_path / "nothing")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputRefused, match="is not the run"):
        read_run(tmp_path)
    scan = tmp_path / "denoised.nii.gz"
    write(noisy_scan(), scan)
    with pytest.raises(InputRefused, match=r"nii\.gz holds no run\.json: give the output folder"):
        read_run(scan)
