import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import petdiff
from petdiff.errors import UsageError


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


def little_scan() -> petdiff.PETImage:
    values = np.random.default_rng(0).gamma(4, 0.25, (16, 16, 16)).astype(np.float32)
    return petdiff.PETImage(values, np.diag([4.0, 4.0, 4.0, 1.0]))


def test_a_seed_is_a_generator_of_that_seed() -> None:
    import torch

    def drawn(**options: Any) -> Any:
        uncertainty = petdiff.denoise(little_scan(), samples=2, steps=2, **options).uncertainty
        return uncertainty.values.tobytes()

    assert drawn(seed=5) == drawn(generator=torch.Generator().manual_seed(5)) != drawn(seed=6)
    assert drawn() == drawn(seed=0)
    with pytest.raises(UsageError, match="`seed` and `generator` contradict"):
        drawn(seed=5, generator=torch.Generator())
    with pytest.raises(UsageError, match="`seed` -1"):
        drawn(seed=-1)


@pytest.mark.parametrize("wrong", ["scan.nii.gz", Path("scan"), np.zeros((4, 4, 4)), None])
def test_what_is_no_scan_is_refused_with_how_to_become_one(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"is a .*, not a scan: .*petdiff\.read\("):
        petdiff.denoise(wrong)
