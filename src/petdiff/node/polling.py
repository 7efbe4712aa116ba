"""The thread of a source: it asks for PET series every so often, and takes those that are new."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from petdiff.node.arrivals import STORED, Arrivals
from petdiff.node.entry import Entry
from petdiff.node.log import log_line
from petdiff.node.node_thread import NodeThread, PeerFailed
from petdiff.node.queue import INCOMPLETE, Queue
from petdiff.units import counted


class NotReached(PeerFailed):
    """The source could not be asked: to be tried again at the next turn."""


@dataclass(frozen=True)
class OfferedSeries:
    """A series of a source by its UIDs, and how many images it has there."""

    study: str
    series: str
    images: int


class SeriesSource(Protocol):
    """Where series are taken from."""

    def series(self) -> list[OfferedSeries]:
        """Return the PET series that are offered. Raises NotReached."""

    def images(self, series: OfferedSeries) -> Iterator[bytes]:
        """Yield the files of a series. Raises NotReached."""


class Poller(NodeThread):
    """Takes series from one source until `stop` is set.

    A series is taken when its number of images is the same at two turns: before, it may still be
    coming in there.

    last_failure  why the last turn failed; empty where it did not
    """

    def __init__(
        self,
        name: str,
        source: SeriesSource,
        queue: Queue,
        arrivals: Arrivals,
        *,
        every_s: float,
        stop: threading.Event,
    ) -> None:
        super().__init__(f"polling of {name}", stop=stop)
        self.source_name, self._source, self._queue = name, source, queue
        self._arrivals, self._every_s = arrivals, every_s
        self._seen: dict[str, int] = {}  # number of images by series, at the last turn
        self._fetched: dict[str, int] = {}  # the same, when a series was fetched
        self.last_failure = ""

    def turn(self) -> None:
        """Ask once, and take the series that are new and have stopped growing."""
        self.pause_s = self._every_s
        known, refused = self._queue.series_made(), self._refused()
        seen: dict[str, int] = {}
        fetched: dict[str, int] = {}
        for offered in self._source.series():
            uid = offered.series
            if uid in known or self._queue.taken_as(uid) is not None:
                continue
            if refused.get(uid, -1) >= offered.images:
                continue
            seen[uid] = offered.images
            if self._fetched.get(uid) == offered.images and uid not in refused:
                fetched[uid] = offered.images  # it lies in receiving/
            elif self._seen.get(uid) == offered.images and not self._stop_event.is_set():
                fetched[uid] = offered.images if self._take(offered) else -1
        self._seen, self._fetched = seen, fetched
        self.last_failure = ""

    def failed(self, reason: str) -> None:
        """Log a failure, unless the turn before failed for the same reason."""
        if reason != self.last_failure:
            log_line(f"{self.source_name} cannot be asked: {reason}; tried again and again")
        self.last_failure = reason

    def _take(self, offered: OfferedSeries) -> bool:
        """Hand the images of a series to the arrivals; return whether they took all."""
        stored = 0
        for image in self._source.images(offered):
            if self._arrivals.store([image], self.source_name) != STORED:
                return False  # the reason is in the log; the next turn begins again
            stored += 1
        log_line(f"{counted(stored, 'image')} of a series taken from {self.source_name}")
        return True

    def _refused(self) -> dict[str, int]:
        """Return the refused series, and how many images they need to have to be taken again."""
        return {
            entry.origin.series: _images_judged(entry) for entry in self._queue.entries("discard")
        }


def _images_judged(entry: Entry) -> int:
    """Return how many images a refusal was about: more of them reopen it only if some lacked."""
    return len(entry.image_names()) if entry.reason().startswith(INCOMPLETE) else 1 << 30
