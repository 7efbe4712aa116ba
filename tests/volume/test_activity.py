"""The alarm about changed activity: silent for unbiased denoisers, raised by a bias of 5 %."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.report.notices import activity_notices
from petdiff.volume.activity import activity_change
from petdiff.volume.regions import block_edges, block_sums, block_volumes
from support.noisy_body import DENOISERS, LEVEL, LIVER, VOXEL_MM, changed, noise, true_suv

SEEDS = range(4)


@pytest.mark.parametrize("name", list(DENOISERS))
def test_unbiased_denoiser_raises_no_alarm_and_a_bias_of_five_per_cent_does(name: str) -> None:
    suv = true_suv()
    for seed in SEEDS:
        unbiased = changed(suv, DENOISERS[name], seed, biased=False)
        assert activity_notices(unbiased) == []
        assert abs(unbiased.relative_change or 0) < 0.01
    notices = [activity_notices(changed(suv, DENOISERS[name], seed, biased=True)) for seed in SEEDS]
    assert sum(bool(found) for found in notices) >= len(SEEDS) - 1
    assert all("SUV 1 to 2.5" in found[0] for found in notices if found)  # where the liver is


def test_blocks_sorted_by_the_measured_scan_regress_to_the_mean() -> None:
    """An unbiased denoiser lowers voxels that are hot by noise."""
    suv = true_suv()
    measured = suv + noise(0, 2 * LEVEL, suv)
    edges = block_edges(suv.shape, VOXEL_MM, 8.0)
    before, after = block_sums(measured, edges), block_sums(suv, edges)
    means = before / block_volumes(suv.shape, edges)
    between = [(means > low) & (means < high) for low, high in ((0.1, 0.5), (1.0, 2.5))]
    naive = [after[band].sum() / before[band].sum() - 1 for band in between]
    assert naive[0] > 0.02
    assert naive[1] < -0.02
    found = activity_change(measured, suv, VOXEL_MM)
    assert all(abs(band.relative_change or 0) < 0.02 for band in found.by_suv[1:])


def test_standard_error_is_the_scatter_over_noise() -> None:
    suv = true_suv()
    changes, errors = [], []
    for seed in range(24):
        found = changed(suv, DENOISERS["removes all noise"], seed, biased=False)
        band = next(b for b in found.by_suv if b.suv_from == 0.5)
        changes.append(band.relative_change or 0)
        errors.append(band.standard_error or 0)
    # 24 draws know a standard deviation to 15 %, so this is three of those.
    assert np.std(changes, ddof=1) == pytest.approx(np.mean(errors), rel=0.45)


def test_standard_error_counts_cubes_whose_blocks_change_together_once() -> None:
    """64 cubes of 3 × 3 × 3 blocks of 8 mm change by 0.1, half of them up and half of them down."""
    signs = np.random.default_rng(0).permutation(np.repeat([-1.0, 1.0], 32)).reshape(4, 4, 4)
    before = np.full((12, 12, 12), 1.7, dtype=np.float32)
    after = before + 0.1 * np.kron(signs, np.ones((3, 3, 3))).astype(np.float32)
    (band,) = activity_change(before, after, (8.0, 8.0, 8.0)).by_suv
    assert band.relative_change == pytest.approx(0, abs=1e-6)
    assert band.standard_error == pytest.approx(np.sqrt(64) * 27 * 0.1 / (12**3 * 1.7), rel=1e-4)


def test_bias_of_a_region_is_measured_as_it_is() -> None:
    """Without noise the liver's band changes by the liver's share of the band times the bias."""
    suv = true_suv()
    lowered = np.where(suv > 2.2, suv * np.float32(0.95), suv)
    band = next(b for b in activity_change(suv, lowered, VOXEL_MM).by_suv if b.suv_from == 1.0)
    assert -0.05 < (band.relative_change or 0) < -0.02
    litres = 4 / 3 * np.pi * LIVER[3] ** 3 / 1e6
    assert band.volume_ml > 1000 * litres


def test_the_same_change_everywhere_has_no_error() -> None:
    suv = true_suv()
    for band in activity_change(suv, suv * np.float32(0.9), VOXEL_MM).by_suv:
        assert band.relative_change == pytest.approx(-0.1, abs=1e-5)
        assert band.standard_error == pytest.approx(0, abs=1e-6)
