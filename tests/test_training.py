from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from petdiff.clinic.abstract import draw_body
from petdiff.errors import InputRefused, UsageError
from petdiff.training import dataset, loop
from petdiff.training.checkpoint import load_checkpoint, save_checkpoint
from petdiff.training.dataset import PATCH, SlabPatches
from petdiff.training.loop import Recipe, learning_rate, train
from petdiff.training.slabs import Protocol, Slab, draw_protocol, scan_slab

SHORT = Recipe(preset="tiny", steps=6, batch=2, warmup=2)


def little_slab(seed: int, index: int) -> Slab:
    """A slab just larger than a patch, with noise but no scanner: quick, and as deterministic."""
    rng = np.random.default_rng([seed, index])
    truth = draw_body(rng, (70, 70, 52)).activity
    full, low = (rng.poisson(c * truth + 1).astype(np.float32) / c for c in (50, 5))
    return Slab(draw_protocol(rng), truth, full, (low,))


@pytest.fixture(autouse=True)
def _quick_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "PATCHES_PER_SLAB", 4)
    monkeypatch.setattr(loop, "PATCHES_PER_SLAB", 4)
    monkeypatch.setattr(loop, "SlabPatches", lambda *a, **k: SlabPatches(*a, make=little_slab, **k))


def test_a_slab_is_the_same_for_the_same_index_and_another_for_the_next() -> None:
    first, again, other = little_slab(0, 3), little_slab(0, 3), little_slab(0, 4)
    assert first.full.tobytes() == again.full.tobytes()
    assert first.full.tobytes() != other.full.tobytes()


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


def test_patches_lie_where_the_body_is_and_hold_the_ratio() -> None:
    r, fields, activity = next(iter(SlabPatches(0, make=little_slab)))
    assert (r.shape, fields.shape, activity.shape) == ((1, *PATCH), (4, *PATCH), (1, *PATCH))
    assert (activity > 0.1).float().mean() > 0.1
    assert r.isfinite().all()
    assert fields.isfinite().all()


def test_the_supply_is_the_same_each_time() -> None:
    first, again = (
        [patch[0].sum().item() for patch in islice(SlabPatches(5, make=little_slab), 9)]
        for _ in range(2)
    )
    assert first == again
    assert len(set(first)) > 4


def test_training_writes_its_log_and_a_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe(preset="tiny", steps=10, batch=2, warmup=2)
    train(recipe, tmp_path, workers=0)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 10
    assert np.isfinite(line["loss"])
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 10


def test_a_finished_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    done = train(SHORT, tmp_path, workers=0)
    again = train(SHORT, tmp_path, resume=True, workers=0)
    for one, other in zip(done.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_resuming_with_another_recipe_names_what_differs(tmp_path: Path) -> None:
    train(SHORT, tmp_path, workers=0)
    with pytest.raises(UsageError, match="rate"):
        train(Recipe(**{**vars(SHORT), "rate": 1e-4}), tmp_path, resume=True, workers=0)


def test_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(steps=1000, warmup=100, cooldown=0.3, rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(1000)]
    assert rates[49] == pytest.approx(0.5)
    assert rates[400] == 1
    assert rates[850] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.01


def test_a_broken_checkpoint_is_refused_and_a_whole_one_replaces_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not weights")
    with pytest.raises(InputRefused, match="not a training checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, {"step": 3})
    assert load_checkpoint(path) == {"step": 3}
    assert [f.name for f in tmp_path.iterdir()] == ["checkpoint.pt"]
