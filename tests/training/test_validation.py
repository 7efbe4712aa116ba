"""Validation measures held-out scans; its picture only informs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from petdiff.data.array_store import Store
from petdiff.methods.flow3d import Flow3D
from petdiff.training import validation
from petdiff.training.process_group import ProcessGroup


def test_picture_that_fails_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("petdiff.training.validation.write_scans", broken)
    validation._draw(tmp_path / "validation" / "step-1.png", "1/20 dose", {}, (40.0, 35.0))
    assert "step-1.png could not be drawn" in caplog.text
    assert "No space left" in caplog.text


def test_scores_ignore_that_finished_models_are_to_compute_in_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    low, full = (rng.gamma(shape, 1 / shape, (16, 16, 16)).astype("f4") for shape in (4, 80))
    store, method = Store(tmp_path), Flow3D.create("tiny")
    facts = {"lows": {"low_20": 20.0}, "affine": np.diag([4.0, 4.0, 4.0, 1.0]).tolist()}
    store.put("scan", {"full": full, "low_20": low}, facts)
    held_out = validation.Validation(store, ["scan"], steps=1)

    def scores() -> validation.Scores | None:
        group = ProcessGroup(0, 1, torch.device("cpu"))
        return held_out.score(method, method.network, group, tmp_path / "picture.png")

    monkeypatch.delenv("PETDIFF_PRECISION", raising=False)
    expected = scores()
    assert expected is not None
    monkeypatch.setenv("PETDIFF_PRECISION", "int8")
    assert scores() == expected
