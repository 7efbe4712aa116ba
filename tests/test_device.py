"""Where and in which precision a network runs."""

from __future__ import annotations

import pytest
import torch

from petdiff.device import resolve_precision
from petdiff.errors import UsageError

CPU = torch.device("cpu")


def test_environment_decides_what_auto_precision_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        monkeypatch.setenv("PETDIFF_PRECISION", name)
        assert resolve_precision("auto", CPU) == dtype


def test_precision_that_is_asked_for_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PETDIFF_PRECISION", "float32")
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16


def test_unknown_precision_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETDIFF_PRECISION", "float16")
    with pytest.raises(UsageError, match="PETDIFF_PRECISION float16: unknown; use auto, float32"):
        resolve_precision("auto", CPU)


def test_empty_variable_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PETDIFF_PRECISION", raising=False)
    without = resolve_precision("auto", CPU)
    monkeypatch.setenv("PETDIFF_PRECISION", "")
    assert resolve_precision("auto", CPU) == without
