import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import petdiff


def test_a_scan_goes_in_and_comes_out_in_three_lines(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    suv = rng.gamma(4, 0.25, (24, 20, 16)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    petdiff.write(petdiff.PETImage(suv, np.diag([4.0, 4.0, 4.0, 1.0])), path)
    image = petdiff.read(path)
    result = petdiff.denoise(image)
    petdiff.write(result.image, tmp_path / "denoised.nii.gz")
    denoised = petdiff.read(tmp_path / "denoised.nii.gz")
    assert denoised.suv.shape == suv.shape
    assert denoised.suv.std() < 0.5 * suv.std()
    assert denoised.suv.mean() == pytest.approx(suv.mean(), rel=0.02)


def test_importing_petdiff_imports_no_torch() -> None:
    code = "import sys, petdiff; petdiff.read; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    assert all(getattr(petdiff, name) is not None for name in petdiff.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'denoize'"):
        _ = petdiff.denoize
