"""The shipped models have a card and denoise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import petdiff
from petdiff.image import PETImage
from petdiff.methods.model import load_model
from petdiff.methods.weights_files import SHIPPED, shipped_models

MAX_BYTES = 10_000_000


@pytest.mark.parametrize("name", shipped_models())
def test_card_has_data_budget_limits_and_licence(name: str) -> None:
    card = load_model(name).card
    assert card.method == name
    assert "simulated" in card.training["data"]
    assert card.training["steps"] > 0
    assert sorted(card.training["psnr_db"], key=float) == ["2", "4", "10", "20", "50", "100"]
    assert "not evaluated on any pair of real scans" in card.limits
    assert card.licence == "Apache-2.0"
    assert Path(str(SHIPPED), f"{name}.safetensors").stat().st_size <= MAX_BYTES


@pytest.mark.parametrize("name", shipped_models())
def test_activity_of_a_warm_ball_is_preserved_and_its_noise_not_raised(name: str) -> None:
    """SUV 2 with 30 % noise."""
    i, j, k = np.indices((48, 48, 32)) - np.array([23.5, 23.5, 15.5]).reshape(3, 1, 1, 1)
    ball = (i**2 + j**2 + (1.5 * k) ** 2 < 18**2).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.3, ball.shape).astype(np.float32)
    scan = PETImage(2 * ball * (1 + noise), np.diag([4.0, 4.0, 4.0, 1.0]))
    denoised = petdiff.denoise(scan, model=name).image.suv
    core = i**2 + j**2 + (1.5 * k) ** 2 < 14**2
    assert denoised[core].mean() == pytest.approx(2, rel=0.1)
    assert denoised[core].std() < 0.9 * scan.suv[core].std()
