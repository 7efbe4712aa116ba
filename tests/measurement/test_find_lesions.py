"""Foci as regions: where the hot ball is, in SUV or in another unit."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.measurement.foci import find_lesions
from support.measured_run import noisy_scan


def test_the_hot_ball_is_the_first_focus() -> None:
    scan = noisy_scan()
    found = find_lesions(scan, 6.0)
    assert np.linalg.norm(np.array(found[0].centre_mm(scan.affine)) - (-10, 10, 540)) < 4
    assert 6 <= (found[0].volume_ml * 3000 / (4 * np.pi)) ** (1 / 3) <= 20
    assert len(found) < len(find_lesions(scan, 2.0))
    assert len(find_lesions(scan)) == len(find_lesions(scan, 4.0)) < len(find_lesions(scan, 3.9))


def test_a_scan_without_suv_needs_a_threshold_in_its_unit() -> None:
    scan = noisy_scan()
    raw = PETImage(1000 * scan.values, scan.affine, unit="BQML", in_suv=False)
    with pytest.raises(InputRefused, match="Bq/ml"):
        find_lesions(raw)
    assert [one.voxels for one in find_lesions(raw, 6000)] == pytest.approx(
        [one.voxels for one in find_lesions(scan, 6)]
    )
