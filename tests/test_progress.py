"""A run tells how long it will take, keeps the time of its stages, and loses no result to a file
that only informs."""

from __future__ import annotations

from pathlib import Path

import pytest

from petdiff.progress import Progress
from petdiff.units import duration


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("petdiff.progress.time.perf_counter", clock)
    return clock


def test_slow_stage_is_announced_once_with_its_hint_and_then_says_what_is_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    with progress.stage("denoising", hint="fewer steps are faster") as tick:
        for done in range(1, 4):
            clock.now = 20.0 + 10 * done  # the first part took 30 s, as it also warmed up
            tick(done, 2001)
    assert capsys.readouterr().err.splitlines() == [
        "denoising 1/2001",
        "denoising will take about 5.6 h; fewer steps are faster",
        "denoising 3/2001  about 5.5 h left",
        "denoising       50.0 s",
    ]
    assert progress.seconds == {"denoising": 50.0}


def test_quick_stage_is_not_announced_and_a_quiet_run_prints_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for quiet in (False, True):
        with Progress(quiet).stage("denoising") as tick:
            for done in range(1, 5):
                clock.now += 5
                tick(done, 4)
        lines = capsys.readouterr().err.splitlines()
        assert [line.split()[0] for line in lines] == ([] if quiet else ["denoising"] * 2)
        assert not any("will take" in line for line in lines)


def test_resumed_run_is_judged_by_what_it_does_itself(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress().stage("training") as tick:
        tick(9000, 10000)
        clock.now = 20.0
        tick(9010, 10000)
    assert "training will take about 33 min" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")]
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_optional_file_that_fails_is_removed_recorded_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    with progress.optional(tmp_path / "picture.png"):
        (tmp_path / "picture.png").write_bytes(b"half")
        raise ZeroDivisionError("by\nzero")
    assert progress.missing == {"picture.png": "ZeroDivisionError: by zero"}
    assert "warning picture.png could not be made" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), progress.optional(tmp_path / "page.html"):
        raise KeyboardInterrupt
