from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.training import slabs
from petdiff.training.slabs import KeptSlabs, Protocol, Slab, draw_protocol, scan_slab
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


def test_a_kept_slab_is_scanned_once_and_comes_back_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = []

    def little(seed: int, index: int) -> Slab:
        scanned.append((seed, index))
        rng = np.random.default_rng([seed, index])
        full, *lows = rng.random((4, 5, 5, 3)).astype(np.float32)
        return Slab(draw_protocol(rng), full, full, tuple(lows))

    monkeypatch.setattr(slabs, "make_slab", little)
    first = KeptSlabs(Store(tmp_path), 3)(7)
    again = KeptSlabs(Store(tmp_path), 3)(7)
    KeptSlabs(Store(tmp_path), 4)(7)
    assert scanned == [(3, 7), (4, 7)]
    expected = little(3, 7)
    for kept in (first, again):
        assert np.array_equal(kept.full, expected.full)
        assert np.array_equal(np.stack(kept.lows), np.stack(expected.lows))
