"""Ranges of planes are processed by as many threads as there are usable cores."""

from __future__ import annotations

import os
import threading
import time

import pytest

from petdiff.volume.plane_ranges import map_plane_ranges
from petdiff.volume.spans import Span


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="of Linux")
@pytest.mark.parametrize("cores", [1, 3])
def test_threads_are_as_many_as_the_usable_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr("petdiff.cgroup.allowed_cores", lambda: None)

    together = threading.Barrier(cores, timeout=60)

    def work(part: Span) -> tuple[int, int]:
        together.wait()
        time.sleep(0.02)  # long enough that a larger pool starts more threads
        return part.core.start, threading.get_ident()

    starts, threads = zip(*map_plane_ranges(work, 360), strict=True)
    assert starts == tuple(range(0, 360, 40))
    assert len(set(threads)) == cores
