"""The base class of the node's threads: it repeats one step until the node stops."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from petdiff import disk


class PeerFailed(Exception):
    """A request to a peer has failed. The text quotes nothing that the peer has sent."""


class NodeThread(threading.Thread, ABC):
    """Repeats `step` until `stop` is set. After an error it continues with the next step.

    pause_s  time to wait before the next step, in seconds
    """

    def __init__(self, name: str, *, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._stop_event = stop
        self.pause_s = 0.0

    def run(self) -> None:
        """Repeat `step`, and pass the reason of each error to `failed`."""
        while not self._stop_event.wait(self.pause_s):
            try:
                self.step()
            except PeerFailed as problem:
                self.failed(str(problem))
            except Exception as problem:  # its text may quote what a peer has sent
                reason = disk.reason(problem) if isinstance(problem, OSError) else ""
                self.failed(reason or type(problem).__name__)

    @abstractmethod
    def step(self) -> None:
        """Do the work of the thread once, and set `pause_s`."""

    @abstractmethod
    def failed(self, reason: str) -> None:
        """Log why a step failed, and set `pause_s` if the pause changes."""
