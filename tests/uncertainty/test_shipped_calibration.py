"""The calibration that comes with flow3d: of these weights, measured, and used."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import petdiff
from petdiff.image import PETImage
from petdiff.uncertainty.calibration.record import Calibration, RegionKind


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return petdiff.calibration_of("flow3d")


def test_every_figure_has_ninety_percent_intervals(calibration: Calibration) -> None:
    assert {"voxel", "suv_mean", "suv_max", "suv_peak"} <= {
        one.figure for one in calibration.figures
    }
    for one in calibration.figures:
        lower, upper = one.groups[0].bounds["0.9"]
        assert lower < 0 < upper


def test_higher_levels_have_wider_bounds(calibration: Calibration) -> None:
    for one in calibration.figures:
        bounds = list(one.groups[0].bounds.values())
        for inner, outer in pairwise(bounds):
            assert outer.lower <= inner.lower
            assert inner.upper <= outer.upper


def test_its_coverage_was_measured_on_further_patients(calibration: Calibration) -> None:
    known = {(one.figure, one.region) for one in calibration.coverage if not one.unseen_scanner}
    assert known == {(one.figure, one.region) for one in calibration.figures}
    voxels = next(
        one for one in calibration.coverage
        if (one.figure, one.level, one.unseen_scanner) == ("voxel", 0.9, False)
    )  # fmt: skip
    assert voxels.patients >= 48
    assert abs(voxels.held - 0.9) < 0.03


def test_intervals_of_a_scan_include_the_denoised_value_more_often_than_not(
    calibration: Calibration,
) -> None:
    rng = np.random.default_rng(0)
    suv = rng.gamma(9, 1 / 3, (20, 20, 20)).astype(np.float32)
    measured = PETImage(suv, np.diag([4.0, 4, 4, 1]))
    denoised = measured.with_values(np.full_like(suv, 3))
    lower, upper = petdiff.voxel_intervals(measured, denoised, calibration, 0.9)
    assert (lower.values <= 3).all()
    assert (upper.values >= 3).all()


@pytest.mark.parametrize("kind", ["lesion", "organ", "sphere", "focus"])
def test_each_kind_of_region_has_a_mean_and_sizes(
    calibration: Calibration, kind: RegionKind
) -> None:
    assert calibration.covers("suv_mean", kind)
    least, most = calibration.region_ml[kind]
    assert 0 < least < most
