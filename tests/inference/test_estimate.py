"""The estimated time of a slow model is logged before it starts."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from petdiff.inference.estimate import log_estimated_time


class SlowMethod:
    """Takes a fixed time per voxel on a simulated clock, and ten times that at the first call."""

    multiple = 8

    def __init__(self, seconds_per_voxel: float) -> None:
        self.seconds_per_voxel = seconds_per_voxel
        self.now, self.factor = 0.0, 10.0
        self.shapes: list[tuple[int, ...]] = []

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape[2:]))
        self.now += self.factor * self.seconds_per_voxel * x.numel()
        self.factor = 1.0
        return x


def estimated(
    seconds_per_voxel: float, monkeypatch: pytest.MonkeyPatch, calls: int = 50
) -> tuple[float, Any]:
    method = SlowMethod(seconds_per_voxel)
    monkeypatch.setattr("petdiff.inference.estimate.time.perf_counter", lambda: method.now)
    fields = torch.zeros(2, 64, 16, 40)
    bound: Any = SimpleNamespace(fields_of=lambda planes: fields[..., planes])
    return log_estimated_time(method, bound, voxels=1_000_000, calls=calls), method


def test_time_of_all_calls_is_estimated_from_a_small_piece(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="petdiff"):
        seconds, method = estimated(1e-6, monkeypatch)
        assert seconds == pytest.approx(1e-6 * 1_000_000 * 50)
        assert caplog.text == "", "50 s are not worth a line"
        seconds, method = estimated(1e-5, monkeypatch)
    assert method.shapes == [(32, 16, 32)] * 2, "the first try warms up"
    assert seconds == pytest.approx(500)
    assert "called 50 times for 1.0 million voxels: about 8 min" in caplog.text


def test_very_slow_network_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, method = estimated(1e-3, monkeypatch)
    assert len(method.shapes) == 1


def test_little_work_is_not_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, method = estimated(1e-3, monkeypatch, calls=0)
    assert (seconds, method.shapes) == (0, [])
