"""Validation measures held-out scans; its picture only informs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petdiff.training import validation


def test_picture_that_fails_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("petdiff.training.validation.write_scans", broken)
    validation._draw(tmp_path / "validation" / "step-1.png", "1/20 dose", {}, (40.0, 35.0))
    assert "step-1.png could not be drawn" in caplog.text
    assert "No space left" in caplog.text
