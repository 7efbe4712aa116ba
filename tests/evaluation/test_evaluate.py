"""petdiff.evaluate: a scan against a reference, from Python."""

from __future__ import annotations

import numpy as np
import pytest

import petdiff
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.volume.regions import body_mask
from support.little_cohort import made_up_scans


def test_figures_are_those_of_the_metrics_and_the_gaussian_beats_the_low_dose_scan() -> None:
    scans = made_up_scans(twin=False)
    full, low = scans.full, scans.lows[20.0]
    found = petdiff.evaluate(scans.lows[4.0], full, low=low, labels=scans.labels, names=scans.names)
    body = body_mask(full.suv, full.spacing_mm)
    error = (scans.lows[4.0].suv - full.suv)[body].astype(float)
    by_hand = 20 * np.log10(full.suv[body].max() / np.sqrt(np.mean(error**2)))
    assert found.value("psnr_db") == pytest.approx(by_hand, abs=1e-3)
    gaussian = found.value("psnr_db", scan="best Gaussian")
    assert gaussian is not None
    assert gaussian > (found.value("psnr_db", scan="low") or 0)
    assert (found.gaussian_fwhm_mm or 0) > 0
    assert found.value("suv_mean_bias", "liver") == pytest.approx(0, abs=0.02)
    with pytest.raises(UsageError, match="no psnr of body in test"):
        found.value("psnr")


def test_scan_on_another_grid_or_without_suv_is_refused() -> None:
    full = made_up_scans(twin=False).full
    moved = PETImage(full.suv, full.affine + np.eye(4)[:, [3, 0, 1, 2]])
    with pytest.raises(InputRefused, match="`test` has other voxels"):
        petdiff.evaluate(moved, full)
    counts = PETImage(full.suv, full.affine, unit="CNTS", in_suv=False)
    with pytest.raises(InputRefused, match="SUV is needed"):
        petdiff.evaluate(full, full, low=counts)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_scan_with_nan_or_infinity_is_refused(odd: float) -> None:
    """Its PSNR would not exist, as that of equal scans."""
    full = made_up_scans(twin=False).full
    values = full.suv.copy()
    values[14, 12, 15] = odd
    for test, reference in ((full.with_values(values), full), (full, full.with_values(values))):
        with pytest.raises(InputRefused, match="holds NaN or infinite values"):
            petdiff.evaluate(test, reference)
