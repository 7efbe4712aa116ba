"""Delivery: every image reaches every destination once, whatever fails in between."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from petdiff.node import delivery
from petdiff.node.counters import Counters
from petdiff.node.delivery import Deliveries, Delivery, NotDelivered, Refused
from petdiff.node.denoising import Ready
from petdiff.node.entry import RESULT_RECORD, ResultRecord, write_record
from petdiff.node.queue import Queue
from support.node import wait_for

NAMES = ["a.dcm", "b.dcm", "c.dcm"]


class Peer:
    """A destination that stores names, and meets the next of its troubles before each image."""

    def __init__(self, *troubles: Exception | None) -> None:
        self.stored: list[str] = []
        self._troubles = list(troubles)

    def send(self, files: Sequence[Path], confirmed: Callable[[Path], None]) -> None:
        for file in files:
            trouble = self._troubles.pop(0) if self._troubles else None
            if trouble is not None:
                raise trouble
            self.stored.append(file.name)
            confirmed(file)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    queue = Queue(tmp_path)
    denoised(queue, "1.9", NAMES)
    return queue


def denoised(queue: Queue, series: str, names: Sequence[str]) -> None:
    """Put a result into sending/."""
    entry = queue.create("pet", series, "SCANNER")
    entry.result.mkdir()
    for name in names:
        (entry.result / name).write_bytes(b"x")
    record = ResultRecord(
        made="2.25.1", images=len(names), sources=("1.2",), relative_change=0, seconds=1, warnings=0
    )
    write_record(entry.result / RESULT_RECORD, record)
    queue.move(entry, "sending")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(delivery, "_LONGEST_PAUSE_S", 0.03)
    monkeypatch.setattr(delivery, "_POLL_S", 0.02)


def deliver(queue: Queue, until: str, retries: int = 1, **peers: Peer) -> Counters:
    """Deliver to peers by name until the series has reached a state."""
    counters, stop = Counters(), threading.Event()
    deliveries = Deliveries(queue, dict.fromkeys(peers, retries), lambda _: list(peers), counters)
    threads = [
        Delivery(name, peer, queue, deliveries, counters, stop=stop) for name, peer in peers.items()
    ]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: queue.counts()[until] == 1)  # type: ignore[index]
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    return counters


def test_a_result_without_its_record_is_discarded_and_the_file_is_named(queue: Queue) -> None:
    [entry] = queue.entries("sending")
    (entry.result / RESULT_RECORD).unlink()
    deliver(queue, "discard", one=Peer())
    assert f"its {RESULT_RECORD} is missing" in queue.entries("discard")[0].reason()


def test_a_result_goes_to_every_destination_and_is_removed(queue: Queue) -> None:
    one, two = Peer(), Peer()
    counters = deliver(queue, "done", one=one, two=two)
    assert one.stored == two.stored == NAMES
    assert counters.of("images_sent") == 6
    assert queue.counts()["sending"] == 0
    [done] = queue.done()
    assert done.destinations == ("one", "two")


def test_after_a_failure_only_the_rest_is_sent(queue: Queue) -> None:
    troubled = Peer(None, NotDelivered("gone"), NotDelivered("gone"), None, OSError(5, "I/O"))
    counters = deliver(queue, "done", pacs=troubled)
    assert troubled.stored == NAMES
    assert counters.of("deliveries_failed") == 3


def test_after_a_restart_only_the_rest_is_sent(queue: Queue) -> None:
    first = Peer(None, NotDelivered("gone"), *[NotDelivered("gone")] * 100)
    with pytest.raises(AssertionError):
        deliver_briefly(queue, first)
    again = Queue(queue.folder)
    again.recover()
    second = Peer()
    deliver(again, "done", pacs=second)
    assert (first.stored, second.stored) == (NAMES[:1], NAMES[1:])


def deliver_briefly(queue: Queue, peer: Peer) -> None:
    counters, stop = Counters(), threading.Event()
    deliveries = Deliveries(queue, {"pacs": 0}, lambda _: ["pacs"], counters)
    thread = Delivery("pacs", peer, queue, deliveries, counters, stop=stop)
    thread.start()
    wait_for(lambda: counters.of("deliveries_failed") > 2)
    stop.set()
    thread.join(10)
    assert queue.counts()["done"] == 1


def test_a_destination_that_is_away_is_tried_longer_and_longer(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(queue, "done", pacs=Peer(*[NotDelivered("it cannot be reached")] * 4))
    log = capsys.readouterr().err
    pauses = [line.rpartition(" in ")[2] for line in log.splitlines() if "failed" in line]
    assert pauses == ["0.01 s", "0.02 s", "0.03 s", "0.03 s"]


def test_a_destination_that_refuses_for_good_does_not_hold_up_the_other(queue: Queue) -> None:
    refusing, other = Peer(None, Refused("status A900"), Refused("status C000")), Peer()
    deliver(queue, "discard", refusing=refusing, other=other)
    assert other.stored == NAMES
    [entry] = queue.entries("discard")
    assert entry.reason() == "refusing refuses it: status C000\n"
    assert len(entry.result_files()) == 3


def test_a_folder_that_cannot_be_read_for_a_moment_is_not_taken_for_delivered(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many files are open, or a network drive is away."""
    [entry] = queue.entries("sending")
    deliveries = Deliveries(queue, {"pacs": 0}, lambda _: ["pacs"], Counters())
    listdir = os.listdir

    def failing(path: Path) -> list[str]:
        if Path(path) == entry.result:
            raise OSError(errno.EMFILE, "Too many open files")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", failing)
    with pytest.raises(OSError, match="Too many"):
        deliveries.settle()
    monkeypatch.undo()
    assert len(deliveries.waiting("pacs")) == 1
    assert len(entry.result_files()) == 3


def test_a_result_that_a_destination_cannot_take_holds_up_no_other(queue: Queue) -> None:
    class Choosy(Peer):
        def send(self, files: Sequence[Path], confirmed: Callable[[Path], None]) -> None:
            if files[0].name in NAMES:
                raise NotDelivered("the association broke off")
            super().send(files, confirmed)

    denoised(queue, "1.10", ["d.dcm"])
    choosy = Choosy()
    deliver(queue, "done", pacs=choosy)
    assert choosy.stored == ["d.dcm"]
    assert queue.counts()["sending"] == 1


def test_a_destination_that_no_result_waits_for_is_not_failing(queue: Queue) -> None:
    deliveries = Deliveries(queue, {"pacs": 0}, lambda _: ["pacs"], Counters())
    peer, stop = Peer(Refused("not this one")), threading.Event()
    thread = Delivery("pacs", peer, queue, deliveries, Counters(), stop=stop)
    with pytest.raises(Refused):
        thread.step()
    thread.failed("not this one")
    assert (thread.pause_s, thread.last_failure) == (0.01, "not this one")
    thread.step()  # moves the result to discard/
    assert queue.counts()["discard"] == 1
    assert (thread.pause_s, thread.last_failure) == (0.0, "")


def test_a_refusal_that_passes_costs_a_retry(queue: Queue) -> None:
    peer = Peer(Refused("status 0110"))
    deliver(queue, "done", pacs=peer)
    assert peer.stored == NAMES


def test_a_refused_result_that_is_put_back_by_hand_is_sent_again(queue: Queue) -> None:
    """The destination has been mended, and the series was moved from discard/ to ready/."""
    deliver(queue, "discard", retries=0, pacs=Peer(None, Refused("status A900")))
    [entry] = queue.entries("discard")
    entry.path.rename(queue.folder / "ready" / entry.path.name)
    taken = Ready(queue).take()
    assert taken is not None
    queue.move(taken, "sending")
    mended = Peer()
    deliver(queue, "done", retries=0, pacs=mended)
    assert mended.stored == NAMES[1:]
