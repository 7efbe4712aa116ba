"""The challenge-like score: weights that add up, full marks for the reference, known losses."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.evaluation.challenge import (
    GLOBAL,
    LOCAL,
    PARTS,
    Target,
    challenge_score,
    points,
    weighted_mean,
)


def target(scale: float = 1.0, seed: int = 0) -> Target:
    rng = np.random.default_rng(seed)
    reference = (4 + rng.random((8, 8, 8))).astype(np.float32)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[2:6, 2:6, 2:6] = True
    return Target(reference, reference * np.float32(scale), mask)


@pytest.mark.parametrize("weights", [PARTS, GLOBAL, LOCAL])
def test_weights_add_up_to_a_hundred(weights: dict[str, float]) -> None:
    assert sum(weights.values()) == 100


def test_reference_itself_has_full_marks_in_every_component() -> None:
    score = challenge_score(0.0, None, 1.0, [target()], [target(seed=1), target(seed=2)])
    assert score.total == pytest.approx(100)
    assert set(score.components) == {"global", "organs", "lesions"}
    for part in score.components.values():
        assert list(part.values()) == pytest.approx([100] * len(part))


def test_total_is_the_weighted_sum_of_its_components() -> None:
    score = challenge_score(0.2, 45.0, 0.9, [target(0.9)], [target(1.3)])
    by_hand = 0.3 * (0.3 * 80 + 0.3 * 75 + 0.4 * 90)
    for part in ("organs", "lesions"):
        by_hand += 0.35 * sum(LOCAL[n] / 100 * x for n, x in score.components[part].items())
    assert score.total == pytest.approx(by_hand)
    assert set(score.components["organs"]) == set(LOCAL)


def test_scaled_target_loses_the_scale() -> None:
    found = challenge_score(0, None, 1, [target(0.9)], []).components["organs"]
    for name in ("suv_max", "suv_mean", "activity", "rms", "percentile_90", "median"):
        assert found[name] == pytest.approx(90, abs=1e-4)
    one = target(0.9)
    inside = one.reference[one.mask].astype(float)
    decibel = 20 * np.log10(inside.max() / (0.1 * np.sqrt(np.mean(inside**2))))
    assert found["psnr"] == pytest.approx(100 * decibel / 60, abs=1e-3)
    assert found["joint_average"] < 100


def test_activity_leaves_out_the_cool_and_the_percentile_the_hottest() -> None:
    before = np.arange(101, dtype=np.float32).reshape(101, 1, 1)
    mask = np.ones(before.shape, dtype=bool)
    cooler, hotter = before.copy(), before.copy()
    cooler[30] = 25  # below 41 % of the maximum
    hotter[94] = 96.5  # above the 90th percentile
    found = [
        challenge_score(0, None, 1, [Target(before, after, mask)], []).components["organs"]
        for after in (cooler, hotter)
    ]
    assert found[0]["activity"] == 100
    assert found[0]["suv_mean"] == pytest.approx(100 * (1 - 5 / 5050))
    assert found[1]["percentile_90"] == 100
    assert found[1]["activity"] < 100


def test_points_end_at_zero_and_a_missing_part_leaves_its_weight() -> None:
    assert [points(e) for e in (0, 0.25, -0.25, 1, 7)] == [100, 75, 75, 0, 0]
    assert challenge_score(0, None, 1, [target(5)], []).components["organs"]["suv_max"] == 0
    alone = challenge_score(0.5, 30.0, None, [], [])
    assert alone.total == pytest.approx((0.3 * 50 + 0.3 * 50) / 0.6)
    assert weighted_mean({"global": 10, "organs": 20}, PARTS) == pytest.approx((300 + 700) / 65)


def test_empty_target_scores_only_where_the_test_is_empty_too() -> None:
    dark = np.zeros((4, 4, 4), dtype=np.float32)
    mask = np.ones(dark.shape, dtype=bool)
    same = challenge_score(0, None, 1, [Target(dark, dark, mask)], []).parts["organs"]
    assert same == pytest.approx(100)
    other = challenge_score(0, None, 1, [Target(dark, dark + 1, mask)], []).components["organs"]
    assert (other["suv_mean"], other["psnr"]) == (0, 0)
