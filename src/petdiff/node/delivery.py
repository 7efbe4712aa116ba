"""The thread of a destination: it sends what is in sending/, and tries again until it is there.

Each image that the destination has confirmed is noted before the next is sent, so that after a kill
the rest follows. An image whose confirmation the kill has swallowed is sent again under the same
SOPInstanceUID, which a PACS stores once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from petdiff.node.counters import Counters
from petdiff.node.entry import Entry
from petdiff.node.log import log_line
from petdiff.node.node_thread import NodeThread, PeerFailed
from petdiff.node.queue import Queue
from petdiff.units import counted

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0
_POLL_S = 5.0
_CONFIRMED, _REFUSED = ".confirmed.txt", ".refused.txt"


class NotDelivered(PeerFailed):
    """The destination could not be reached, or has no room: to be tried again without end."""


class Refused(PeerFailed):
    """The destination has refused an image, and would probably again."""


class Transport(Protocol):
    """How files reach a destination."""

    def send(self, files: Sequence[Path], confirmed: Callable[[Path], None]) -> None:
        """Send files, and call `confirmed` for each that is stored there.

        Raises NotDelivered or Refused.
        """


@dataclass
class _Notes:
    """What is known of one result and one destination, kept beside the result."""

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
        """Whether everything is confirmed, or has been refused too often."""
        return self.is_given_up(retries) or not self.left()

    def is_given_up(self, retries: int) -> bool:
        return len(self.refused()) > retries

    def left(self) -> list[Path]:
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


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


class Deliveries:
    """Which results wait for which destination, and when a result is settled with all of them.

    retries          of each destination, by its name: refusals after which it is given up
    destinations_of  names of the destinations of what a sender has sent
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
        """Return the results that a destination has not settled yet."""
        return [
            entry
            for entry in self._queue.entries("sending")
            if name in self._destinations_of(entry.origin.sender)
            and not _Notes(entry, name).is_settled(self._retries[name])
        ]

    def settle(self) -> None:
        """Move each result that is settled with all its destinations to done/ or discard/."""
        with self._lock:
            for entry in self._queue.entries("sending"):
                names = self._destinations_of(entry.origin.sender)
                notes = [_Notes(entry, name) for name in names]
                if all(one.is_settled(self._retries[one.name]) for one in notes):
                    self._finish(entry, notes)

    def _finish(self, entry: Entry, notes: list[_Notes]) -> None:
        given_up = [one for one in notes if one.is_given_up(self._retries[one.name])]
        answer = entry.answer()
        if given_up or answer is None:
            said = "; ".join(f"{one.name} refuses it: {one.refused()[-1]}" for one in given_up)
            reason = said or "its answer.json is missing"
            self._queue.discard(entry, reason)
            self._counters.add("series_discarded")
            log_line(f"series {entry.number}: discarded: {reason}")
            return
        self._queue.finish(entry, answer, tuple(one.name for one in notes))
        self._counters.add("series_done")
        log_line(f"series {entry.number}: done")


class Delivery(NodeThread):
    """Sends results to one destination until `stop` is set; waits longer after each failure.

    last_failure  why the last attempt failed; empty where it did not
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
        self.last_failure = ""

    def turn(self) -> None:
        """Send the results that wait, one after the other, then wait for a change of the queue."""
        version = self._queue.version
        self._deliveries.settle()
        for entry in self._deliveries.waiting(self.to):
            self._deliver(entry)
            self.pause_s, self.last_failure = 0.0, ""
            self._deliveries.settle()
            if self._stop_event.is_set():
                return
        self.pause_s, self.last_failure = 0.0, ""  # also where a result that failed was removed
        self._queue.wait(version, _POLL_S)

    def failed(self, reason: str) -> None:
        """Count and log a failure; double the pause."""
        self._counters.add("deliveries_failed")
        self.pause_s = min(max(2 * self.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self.last_failure = reason
        log_line(f"delivery to {self.to} failed: {reason}; tried again in {self.pause_s:g} s")

    def _deliver(self, entry: Entry) -> None:
        """Send what a destination has not confirmed of a result."""
        notes, start = _Notes(entry, self.to), time.monotonic()
        files = notes.left()

        def confirmed(file: Path) -> None:
            notes.confirm(file)
            self._counters.add("images_sent")

        try:
            self._transport.send(files, confirmed)
        except Refused as problem:
            notes.refuse(str(problem))
            raise
        took = time.monotonic() - start
        log_line(
            f"series {entry.number}: {counted(len(files), 'image')} to {self.to} in {took:.1f} s"
        )
