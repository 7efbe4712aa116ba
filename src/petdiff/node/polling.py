"""The thread of a source: it searches for PET series at intervals, and fetches new ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from petdiff.node.arrivals import NO_ROOM, STORED, Arrivals
from petdiff.node.entry import Entry
from petdiff.node.log import log_line
from petdiff.node.node_thread import NodeThread, PeerFailed
from petdiff.node.queue import INCOMPLETE, Queue
from petdiff.units import counted

_MAX_FETCHES = 10  # of a series that stays incomplete; the pauses between them double
_MAX_IMAGES = 100_000  # of a series whose number of images is not listed


class NotReached(PeerFailed):
    """The source could not be reached. It is tried again at the next step."""


@dataclass(frozen=True)
class OfferedSeries:
    """The UIDs of a series at a source, and its number of images there."""

    study: str
    series: str
    images: int


@dataclass
class _Listed:
    """A series that the source lists, since it lists this number of images.

    fetches   how often it was fetched
    failures  how often fetching it has failed since then
    steps     number of steps since then
    is_taken  whether it is in receiving/ since the last fetch
    """

    images: int
    fetches: int = 0
    failures: int = 0
    steps: int = 0
    is_taken: bool = False

    @property
    def is_due(self) -> bool:
        """Whether it is to be fetched at this step."""
        is_awaited = not self.is_taken and self.fetches < _MAX_FETCHES
        return is_awaited and self.steps >= 2**self.fetches


class SeriesSource(Protocol):
    """A source of series."""

    def series(self) -> list[OfferedSeries]:
        """Return the PET series that are offered. Raises NotReached."""

    def images(self, series: OfferedSeries) -> Iterator[bytes]:
        """Yield the files of a series. Raises NotReached."""


class Poller(NodeThread):
    """Fetches series from one source until `stop` is set.

    A series is fetched when its number of images was the same at two steps: before, the source may
    still be receiving it. If it was incomplete, it is fetched again, after ever longer pauses.

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
        self._listed: dict[str, _Listed] = {}  # by SeriesInstanceUID, at the last step
        self.last_failure = ""

    def step(self) -> None:
        """Search once, and fetch the series that are new and have stopped growing.

        The first that fails ends the step. At the next it comes after those that failed less often,
        so that one series that the source cannot send does not hold up the others.
        """
        self.pause_s = self._every_s
        due = self._due()
        for offered, listed in sorted(due, key=lambda one: one[1].failures):
            if self._stop_event.is_set():
                return
            listed.failures += 1
            self._fetch(offered, listed)
            listed.failures = 0
        self.last_failure = ""

    def _due(self) -> list[tuple[OfferedSeries, _Listed]]:
        """Search once, and return the series that are to be fetched now."""
        known, refused = self._queue.derived_series(), self._refused()
        now: dict[str, _Listed] = {}
        due = []
        for offered in self._source.series():
            uid = offered.series
            if uid in known or self._queue.number_of(uid) is not None:
                continue
            if refused.get(uid, -1) >= offered.images:
                continue
            before = self._listed.get(uid)
            if before is None or before.images != offered.images:
                now[uid] = _Listed(offered.images)
                continue
            now[uid] = before
            before.steps += 1
            before.is_taken = before.is_taken and uid not in refused
            if before.is_due:
                due.append((offered, before))
        self._listed = now
        return due

    def failed(self, reason: str) -> None:
        """Log a failure, unless the step before failed for the same reason."""
        if reason != self.last_failure:
            log_line(
                f"{self.source_name} cannot be searched or read: {reason}; tried again at each "
                "interval"
            )
        self.last_failure = reason

    def _fetch(self, offered: OfferedSeries, listed: _Listed) -> None:
        """Store the images of a series. Without room for one, the next step tries again."""
        self._arrivals.expect(offered.series, offered.images)
        stored, limit = 0, 2 * offered.images or _MAX_IMAGES
        for count, image in enumerate(self._source.images(offered)):
            if count == limit:
                log_line(f"{self.source_name} sends more than {limit} images of a series: cut off")
                break
            status = self._arrivals.store([image], self.source_name)
            if status == NO_ROOM:
                return  # the log has the reason
            stored += status == STORED
        listed.fetches, listed.steps, listed.is_taken = listed.fetches + 1, 0, True
        log_line(f"{counted(stored, 'image')} of a series fetched from {self.source_name}")
        if listed.fetches == _MAX_FETCHES:
            log_line(
                f"{self.source_name} lists {counted(offered.images, 'image')} of that series: it "
                f"was fetched {_MAX_FETCHES} times, and is fetched again when their number changes"
            )

    def _refused(self) -> dict[str, int]:
        """Return the refused series, with the number of images that does not reopen them.

        A series of PET and others has two entries, of which the incomplete one can be reopened.
        """
        found: dict[str, int] = {}
        for entry in self._queue.entries("discard"):
            uid, images = entry.origin.series, _refused_images(entry)
            found[uid] = min(images, found.get(uid, images))
        return found


def _refused_images(entry: Entry) -> int:
    """Return how many images a refused series had; only more images reopen an incomplete one."""
    return len(entry.image_names()) if entry.reason().startswith(INCOMPLETE) else 1 << 30
