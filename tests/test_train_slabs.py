from __future__ import annotations

import numpy as np
import pytest

from petdiff.training.slabs import Protocol, draw_protocol, scan_slab


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
