from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from petdiff.training import slabs
from petdiff.training.slabs import (
    FIRST_SEED,
    LOWS,
    ClinicalSlabs,
    KeptSlabs,
    Protocol,
    Stretch,
    draw_protocol,
    scan_slab,
)
from petdiff.training.store import Store


def test_a_scanned_slab_keeps_its_activity_and_its_noise_grows_as_dose_falls() -> None:
    rng = np.random.default_rng(0)
    i, j, _ = np.indices((48, 48, 6))
    inside = ((i - 23.5) ** 2 + (j - 23.5) ** 2 < 18**2).astype(np.float32)
    protocol = Protocol(
        fwhm=1.5, axial_fwhm=1.2, psf_share=1.0, tof_fwhm=0.0, subsets=6, iterations=4,
        scatter_fraction=0.2, randoms_fraction=0.2, counts_per_voxel=200, factors=(4.0, 50.0),
        post_fwhm=0.0, zoom=1.0,
    )  # fmt: skip
    slab = scan_slab(rng, protocol, inside, 0.097 * inside)
    core = ((i - 23.5) ** 2 + (j - 23.5) ** 2) < 14**2
    means = [image[core].mean() for image in (slab.full, *slab.lows)]
    assert means == pytest.approx([1, 1, 1], rel=0.02)
    spreads = [image[core].std() for image in (slab.full, *slab.lows)]
    assert spreads[0] < spreads[1] < spreads[2]


def test_protocols_range_over_dose_and_resolution() -> None:
    protocols = [draw_protocol(np.random.default_rng(seed)) for seed in range(200)]
    factors = [f for p in protocols for f in p.factors]
    assert min(factors) < 1.6
    assert max(factors) > 150
    assert all(list(p.factors) == sorted(p.factors) for p in protocols)


def test_a_kept_slab_is_scanned_once_and_comes_back_the_same(tmp_path: Path) -> None:
    scanned = []

    def little(index: int) -> Stretch:
        scanned.append(index)
        full, *lows = np.random.default_rng(index).random((4, 5, 5, 3)).astype(np.float32)
        return Stretch(full, tuple(lows))

    first = KeptSlabs(Store(tmp_path), "clinic-3", little)(7)
    again = KeptSlabs(Store(tmp_path), "clinic-3", little)(7)
    KeptSlabs(Store(tmp_path), "clinic-4", little)(7)
    assert scanned == [7, 7]
    expected = little(7)
    for kept in (first, again):
        assert np.array_equal(kept.full, expected.full)
        assert np.array_equal(np.stack(kept.lows), np.stack(expected.lows))


def test_a_clinics_slabs_are_drawn_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def noted(seed: int, **settings: Any) -> SimpleNamespace:
        drawn.append({"seed": seed, **settings})
        image = SimpleNamespace(suv=np.zeros(1))
        return SimpleNamespace(full=image, lows=dict.fromkeys(settings["dose_factors"], image))

    monkeypatch.setattr(slabs, "simulate", noted)
    supply = ClinicalSlabs(5, "vision600", "psma")
    for index in (0, 0, *range(1, 20)):
        assert len(supply(index).lows) == LOWS
    assert drawn[0] == drawn[1]
    assert len({settings["seed"] for settings in drawn}) == 20
    assert len({settings["extent"] for settings in drawn}) == 4
    assert min(settings["seed"] for settings in drawn) >= FIRST_SEED
    assert {(settings["scanner"], settings["tracer"]) for settings in drawn} == {
        ("vision600", "psma")
    }


def test_a_clinics_slab_is_its_scanners_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "CLINICAL_VOXEL_MM", (12.0, 12.1))
    stretch = ClinicalSlabs(5, "quadra", "fdg")(0)
    noise = [np.std(low - stretch.full) for low in stretch.lows]
    assert len(noise) == LOWS
    assert noise == sorted(noise)
