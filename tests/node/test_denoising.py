"""Workers that refuse, fail or die: a series ends in sending/ or, with a reason, in discard/."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from petdiff.node import denoising
from petdiff.node.counters import Counters
from petdiff.node.denoising import Denoiser, Ready
from petdiff.node.entry import Entry, write_record
from petdiff.node.queue import Queue
from petdiff.node.settings import Denoising
from petdiff.node.worker_process import WorkerProcess
from support.dicom_factory import save
from support.node import series, stub, wait_for


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    queue = Queue(tmp_path)
    images = series()
    entry = queue.create("pet", str(images[0].SeriesInstanceUID), "SCANNER")
    save(images, entry.images)
    queue.move(entry, "ready")
    return queue


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(denoising, "_RESTART_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(denoising, "_POLL_S", 0.05)


def counts_after(queue: Queue, behaviour: str, state: str, seconds: float = 60) -> Counters:
    """Let a worker of some behaviour run until the series has reached a state."""
    counters, stop = Counters(), threading.Event()
    worker = WorkerProcess(Denoising().settings("cpu"), stub(behaviour))
    thread = Denoiser(queue, Ready(queue), worker, counters, seconds=seconds, stop=stop)
    thread.start()
    try:
        wait_for(lambda: queue.counts()[state] == 1)
    finally:
        stop.set()
        worker.stop()
        thread.join(10)
    return counters


def reason(queue: Queue) -> str:
    return queue.entries("discard")[0].reason().strip()


def test_a_worker_that_dies_once_costs_one_attempt(queue: Queue) -> None:
    counters = counts_after(queue, "die-once", "sending")
    assert counters.of("workers_died") == 1
    assert counters.of("series_denoised") == 1
    [entry] = queue.entries("sending")
    record = entry.result_record()
    assert record is not None
    assert (len(entry.result_files()), record.images) == (4, 4)


def test_a_series_that_kills_workers_is_refused(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert counts_after(queue, "die", "discard").of("workers_died") == 3
    assert reason(queue) == "failed 3 times: the worker ended with exit code 7"
    assert "series 1: discarded: failed 3 times" in capsys.readouterr().err


def test_a_refusal_is_final_and_its_reason_is_not_in_the_log(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    counts_after(queue, "refuse", "discard")
    assert reason(queue) == "a header says so"
    log = capsys.readouterr().err
    assert "a header says so" not in log
    assert "discarded: see reason.txt" in log


def test_a_failure_is_tried_three_times(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    counts_after(queue, "fail", "discard")
    assert reason(queue) == "failed 3 times: no luck with a header"
    assert capsys.readouterr().err.count("series 1: denoising") == 3


def test_a_worker_that_has_failed_is_replaced_before_the_next_attempt(queue: Queue) -> None:
    """After an error of its driver, a process may fail at every series."""
    counters = counts_after(queue, "lost", "sending")
    assert counters.of("series_denoised") == 1
    assert counters.of("workers_died") == 0


def test_a_series_during_which_the_node_is_killed_again_and_again_is_refused(queue: Queue) -> None:
    [entry] = queue.entries("ready")
    write_record(entry.path / "attempts.json", denoising.Attempts(starts=20))
    counts_after(queue, "copy", "discard")
    assert reason(queue) == "started 20 times, and each time the node was killed"


def test_a_series_that_takes_too_long_is_ended(queue: Queue) -> None:
    counters = counts_after(queue, "copy", "discard", seconds=0.0)
    assert "its limit" in reason(queue)
    assert counters.of("workers_died") == 3


def test_one_put_back_by_hand_is_tried_again(queue: Queue) -> None:
    counts_after(queue, "refuse", "discard")
    [entry] = queue.entries("discard")
    entry.path.rename(queue.folder / "ready" / entry.path.name)
    counts_after(queue, "copy", "sending")
    assert queue.entries("sending")[0].reason() == ""


def test_one_that_failed_for_good_and_is_put_back_by_hand_has_all_attempts_again(
    queue: Queue,
) -> None:
    counts_after(queue, "fail", "discard")
    [entry] = queue.entries("discard")
    entry.path.rename(queue.folder / "ready" / entry.path.name)
    assert counts_after(queue, "die", "discard").of("workers_died") == 3


def test_a_worker_that_cannot_be_started_is_named_and_tried_again(
    queue: Queue, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stop, said = threading.Event(), []
    worker = WorkerProcess(Denoising().settings("cpu"), [str(tmp_path / "absent")])
    thread = Denoiser(queue, Ready(queue), worker, Counters(), seconds=60, stop=stop)

    def said_twice() -> bool:
        said.append(capsys.readouterr().err)
        return "".join(said).count("worker cannot start: no process can be started (No such") > 1

    thread.start()
    try:
        wait_for(said_twice)
    finally:
        stop.set()
        thread.join(10)


def test_a_disk_that_fails_for_a_moment_costs_a_pause(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk fails at the first write beside the series, and when the result is moved on."""
    monkeypatch.setattr(denoising, "_DISK_PAUSE_S", 0.01)
    failures = ["write", "move"]
    write, move = denoising.write_record, queue.move

    def failing_write(*arguments: Any) -> None:
        if failures[:1] == ["write"]:
            failures.pop(0)
            raise OSError(errno.EIO, "the disk says no")
        write(*arguments)

    def failing_move(entry: Entry, state: Any) -> Entry:
        if state == "sending" and failures[:1] == ["move"]:
            failures.pop(0)
            raise OSError(errno.EIO, "the disk says no")
        return move(entry, state)

    monkeypatch.setattr(denoising, "write_record", failing_write)
    monkeypatch.setattr(queue, "move", failing_move)
    counts_after(queue, "copy", "sending")
    assert failures == []
    assert len(queue.entries("sending")[0].result_files()) == 4
    assert "series 1: the disk says no; tried again" in capsys.readouterr().err


def test_a_full_disk_is_no_failure_of_the_series(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(denoising, "_DISK_PAUSE_S", 0.01)
    monkeypatch.setattr(denoising, "_MAX_FAILURES", 1)
    counts_after(queue, "full-once", "sending")
    assert "series 1: the disk is full; tried again" in capsys.readouterr().err
