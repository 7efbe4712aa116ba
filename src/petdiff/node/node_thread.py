"""What the threads of the node have in common: turn after turn, until the node stops."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from petdiff import disk


class PeerFailed(Exception):
    """A peer did not do what it was asked; the text quotes nothing that the peer has sent."""


class NodeThread(threading.Thread, ABC):
    """Takes turns until `stop` is set; an error ends a turn, and the next one follows.

    pause_s  how long to wait before the next turn, in seconds
    """

    def __init__(self, name: str, *, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._stop_event = stop
        self.pause_s = 0.0

    def run(self) -> None:
        """Take turns, and hand the reason of each error to `failed`."""
        while not self._stop_event.wait(self.pause_s):
            try:
                self.turn()
            except PeerFailed as problem:
                self.failed(str(problem))
            except Exception as problem:  # its text may quote what a peer has sent
                said = disk.reason(problem) if isinstance(problem, OSError) else ""
                self.failed(said or type(problem).__name__)

    @abstractmethod
    def turn(self) -> None:
        """Do once what the thread is for, and set `pause_s`."""

    @abstractmethod
    def failed(self, reason: str) -> None:
        """Log why a turn failed, and set `pause_s` if it shall be another."""
