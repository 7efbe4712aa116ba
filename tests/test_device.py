"""Tests of the device and the precision in which a network runs, and of its memory."""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from petdiff.device import (
    release_memory,
    require_sound_bfloat16,
    resolve_precision,
    within_memory,
)
from petdiff.errors import PetdiffError, UsageError

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


def test_convolutions_in_bfloat16_are_sound_here() -> None:
    require_sound_bfloat16(CPU)


def test_wrong_convolutions_in_bfloat16_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.nn.functional.conv3d

    def wrong(x: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        out = right(x, *others, **options)
        out[..., -1] *= 0.5 if x.dtype == torch.bfloat16 else 1.0
        return out

    monkeypatch.setattr("petdiff.device.F.conv3d", wrong)
    with pytest.raises(PetdiffError, match="PETDIFF_PRECISION=float32"):
        require_sound_bfloat16.__wrapped__(CPU)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_goes_back_to_the_system() -> None:
    """The C library keeps memory of many small tensors while a later tensor lies behind them."""
    import resource

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    tensors = [torch.ones(16_000) for _ in range(3_000)]
    held = resident_bytes()
    last = tensors[-1].clone()
    del tensors
    release_memory()
    assert held - resident_bytes() > 150_000_000
    assert last.sum() == 16_000


def test_work_that_exhausts_memory_is_tried_again_in_ever_smaller_parts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = [8]

    def compute() -> int:
        if part[0] > 2:
            raise torch.OutOfMemoryError
        return part[0]

    def shrink() -> str:
        part[0] //= 2
        return f"part of {part[0]}"

    assert within_memory(compute, shrink) == 2
    assert caplog.messages == ["out of memory: part of 4", "out of memory: part of 2"]


def test_the_failed_attempt_holds_no_memory_when_the_next_begins() -> None:
    class Tensors:
        pass

    held: list[weakref.ref[Tensors]] = []

    def compute() -> bool:
        if not held:
            tensors = Tensors()
            held.append(weakref.ref(tensors))
            raise MemoryError
        return held[0]() is None

    assert within_memory(compute, lambda: "less")
