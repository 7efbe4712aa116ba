"""The thread of a source: it searches for PET series at intervals, and fetches new ones."""

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
    """The source could not be reached. It is tried again at the next step."""


@dataclass(frozen=True)
class OfferedSeries:
    """The UIDs of a series at a source, and its number of images there."""

    study: str
    series: str
    images: int


class SeriesSource(Protocol):
    """A source of series."""

    def series(self) -> list[OfferedSeries]:
        """Return the PET series that are offered. Raises NotReached."""

    def images(self, series: OfferedSeries) -> Iterator[bytes]:
        """Yield the files of a series. Raises NotReached."""


class Poller(NodeThread):
    """Fetches series from one source until `stop` is set.

    A series is fetched when its number of images was the same at two steps: before, the source may
    still be receiving it.

    last_failure  reason of the last failed step; empty after a success
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
        self._offered: dict[str, int] = {}  # number of images by series, at the last step
        self._fetched: dict[str, int] = {}  # number of images when a series was fetched
        self.last_failure = ""

    def step(self) -> None:
        """Search once, and fetch the series that are new and have stopped growing."""
        self.pause_s = self._every_s
        known, refused = self._queue.derived_series(), self._refused()
        images: dict[str, int] = {}
        fetched: dict[str, int] = {}
        for offered in self._source.series():
            uid = offered.series
            if uid in known or self._queue.number_of(uid) is not None:
                continue
            if refused.get(uid, -1) >= offered.images:
                continue
            images[uid] = offered.images
            if self._fetched.get(uid) == offered.images and uid not in refused:
                fetched[uid] = offered.images  # it is in receiving/
            elif self._offered.get(uid) == offered.images and not self._stop_event.is_set():
                fetched[uid] = offered.images if self._fetch(offered) else -1
        self._offered, self._fetched = images, fetched
        self.last_failure = ""

    def failed(self, reason: str) -> None:
        """Log a failure, unless the step before failed for the same reason."""
        if reason != self.last_failure:
            log_line(
                f"{self.source_name} cannot be searched: {reason}; tried again at each interval"
            )
        self.last_failure = reason

    def _fetch(self, offered: OfferedSeries) -> bool:
        """Store the images of a series; return whether all were accepted."""
        self._arrivals.expect(offered.series, offered.images)
        stored = 0
        for image in self._source.images(offered):
            if self._arrivals.store([image], self.source_name) != STORED:
                return False  # the log has the reason; the next step tries again
            stored += 1
        log_line(f"{counted(stored, 'image')} of a series fetched from {self.source_name}")
        return True

    def _refused(self) -> dict[str, int]:
        """Return the refused series, with the number of images that does not reopen them."""
        return {
            entry.origin.series: _refused_images(entry) for entry in self._queue.entries("discard")
        }


def _refused_images(entry: Entry) -> int:
    """Return how many images a refused series had; only more images reopen an incomplete one."""
    return len(entry.image_names()) if entry.reason().startswith(INCOMPLETE) else 1 << 30
