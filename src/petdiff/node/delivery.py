"""The thread of a destination: it sends the series in sending/ and repeats failed deliveries.

Each image that the destination has confirmed is recorded before the next is sent, so that after a
kill only the others are sent. If the kill came before the record, the image is sent again with the
same SOPInstanceUID, which a PACS stores once.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from petdiff.node.counters import Counters
from petdiff.node.entry import RESULT_RECORD, Entry
from petdiff.node.log import log_line
from petdiff.node.node_thread import NodeThread, PeerFailed
from petdiff.node.queue import Queue
from petdiff.units import counted

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0
_POLL_S = 5.0
_CONFIRMED, _REFUSED = ".confirmed.txt", ".refused.txt"


class NotDelivered(PeerFailed):
    """The destination could not be reached or has no room: delivery is repeated without limit."""


class Refused(PeerFailed):
    """The destination has refused an image. The delivery is repeated a limited number of times."""


class Transport(Protocol):
    """Sends files to a destination."""

    def send(self, files: Sequence[Path], confirmed: Callable[[Path], None]) -> None:
        """Send files, and call `confirmed` for each that is stored there.

        Raises NotDelivered or Refused.
        """


@dataclass
class _DeliveryState:
    """Confirmed images and refusals of one result at one destination, stored beside the result."""

    entry: Entry
    name: str

    def confirmed(self) -> set[str]:
        return set(_lines(self._file(_CONFIRMED)))

    def confirm(self, file: Path) -> None:
        self._append(_CONFIRMED, file.name)

    def refused(self) -> list[str]:
        return _lines(self._file(_REFUSED))

    def refuse(self, reason: str) -> None:
        self._append(_REFUSED, reason)

    def is_settled(self, retries: int) -> bool:
        """Whether all images are confirmed, or the delivery was refused too often."""
        return self.is_given_up(retries) or not self.unconfirmed()

    def is_given_up(self, retries: int) -> bool:
        return len(self.refused()) > retries

    def unconfirmed(self) -> list[Path]:
        done = self.confirmed()
        return [file for file in self.entry.result_files() if file.name not in done]

    def _file(self, suffix: str) -> Path:
        return self.entry.path / f"{self.name}{suffix}"

    def _append(self, suffix: str, line: str) -> None:
        # One write of a short line, so that a kill leaves all of it or nothing.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self._file(suffix), flags, 0o666)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


def forget_refusals(entry: Entry) -> None:
    """Let every destination try a series again that it has refused."""
    for file in entry.path.glob(f"*{_REFUSED}"):
        file.unlink(missing_ok=True)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


class Deliveries:
    """The results that wait for each destination, and those that all destinations have.

    retries          by destination: number of refusals after which a delivery is given up
    destinations_of  returns the names of the destinations for the series of a sender
    """

    def __init__(
        self,
        queue: Queue,
        retries: dict[str, int],
        destinations_of: Callable[[str], list[str]],
        counters: Counters,
    ) -> None:
        self._queue, self._retries = queue, retries
        self._destinations_of, self._counters = destinations_of, counters
        self._lock = threading.Lock()

    def waiting(self, name: str) -> list[Entry]:
        """Return the results that still have to be sent to a destination."""
        return [
            entry
            for entry in self._queue.entries("sending")
            if name in self._destinations_of(entry.origin.sender)
            and not _DeliveryState(entry, name).is_settled(self._retries[name])
        ]

    def settle(self) -> None:
        """Move each result with no delivery left to do to done/ or discard/."""
        with self._lock:
            for entry in self._queue.entries("sending"):
                names = self._destinations_of(entry.origin.sender)
                states = [_DeliveryState(entry, name) for name in names]
                if all(one.is_settled(self._retries[one.name]) for one in states):
                    self._finish(entry, states)

    def _finish(self, entry: Entry, states: list[_DeliveryState]) -> None:
        given_up = [one for one in states if one.is_given_up(self._retries[one.name])]
        record = entry.result_record()
        if given_up or record is None:
            refusals = "; ".join(f"{one.name} refuses it: {one.refused()[-1]}" for one in given_up)
            reason = refusals or f"its {RESULT_RECORD} is missing"
            self._queue.discard(entry, reason)
            self._counters.add("series_discarded")
            log_line(f"series {entry.number}: discarded: {reason}")
            return
        self._queue.finish(entry, record, tuple(one.name for one in states))
        self._counters.add("series_done")
        log_line(f"series {entry.number}: done")


class Delivery(NodeThread):
    """Sends results to one destination until `stop` is set; waits longer after each failure.

    last_failure  reason of the last failed attempt; empty after a success
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        queue: Queue,
        deliveries: Deliveries,
        counters: Counters,
        *,
        stop: threading.Event,
    ) -> None:
        super().__init__(f"delivery to {name}", stop=stop)
        self.to, self._transport, self._queue = name, transport, queue
        self._deliveries, self._counters = deliveries, counters
        self._failures: Counter[int] = Counter()  # by number of the series
        self.last_failure = ""

    def step(self) -> None:
        """Send the results that wait, one after the other, then wait for a change of the queue.

        The first that fails ends the step. At the next it comes after those that failed less often,
        so that one result that the destination cannot take does not hold up the others.
        """
        version = self._queue.version
        self._deliveries.settle()
        waiting = self._deliveries.waiting(self.to)
        for entry in sorted(waiting, key=lambda one: self._failures[one.number]):
            self._failures[entry.number] += 1
            self._deliver(entry)
            del self._failures[entry.number]
            self.pause_s, self.last_failure = 0.0, ""
            self._deliveries.settle()
            if self._stop_event.is_set():
                return
        self.pause_s, self.last_failure = 0.0, ""  # also if a failed result was removed
        self._queue.wait(version, _POLL_S)

    def failed(self, reason: str) -> None:
        """Count and log a failure; double the pause."""
        self._counters.add("deliveries_failed")
        self.pause_s = min(max(2 * self.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self.last_failure = reason
        log_line(f"delivery to {self.to} failed: {reason}; tried again in {self.pause_s:g} s")

    def _deliver(self, entry: Entry) -> None:
        """Send the images of a result that the destination has not confirmed."""
        state, start = _DeliveryState(entry, self.to), time.monotonic()
        files = state.unconfirmed()

        def confirmed(file: Path) -> None:
            state.confirm(file)
            self._counters.add("images_sent")

        try:
            self._transport.send(files, confirmed)
        except Refused as problem:
            state.refuse(str(problem))
            raise
        seconds = time.monotonic() - start
        log_line(
            f"series {entry.number}: {counted(len(files), 'image')} to {self.to} in {seconds:.1f} s"
        )
