"""Counters of the events since the node started, for the status page."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

Event = Literal[
    "images_received", "images_repeated", "images_refused", "images_sent",
    "series_denoised", "series_discarded", "series_done",
    "associations_accepted", "associations_refused", "associations_broken",
    "deliveries_failed", "workers_died",
]  # fmt: skip
EVENTS: dict[Event, str] = {
    "images_received": "Images accepted into the queue",
    "images_repeated": "Images of series that were accepted before",
    "images_refused": "Images refused with a failure status",
    "images_sent": "Images that a destination has confirmed",
    "series_denoised": "Series denoised",
    "series_discarded": "Series moved to discard",
    "series_done": "Series whose results have reached all destinations",
    "associations_accepted": "Associations accepted",
    "associations_refused": "Associations and connections refused",
    "associations_broken": "Associations that ended without a release",
    "deliveries_failed": "Attempts to deliver a series that failed",
    "workers_died": "Worker processes that ended by themselves",
}


class Counters:
    """Counts of events; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Event] = Counter()

    def add(self, event: Event, count: int = 1) -> None:
        """Count an event."""
        with self._lock:
            self._counts[event] += count

    def of(self, event: Event) -> int:
        """Return how often an event has happened."""
        with self._lock:
            return self._counts[event]
