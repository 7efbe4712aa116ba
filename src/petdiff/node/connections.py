"""The open connections of the DICOM port, with the time and size of their last messages."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from pynetdicom.association import Association


@dataclass
class _Activity:
    """The time of the last bytes of a connection, and the size of its present message."""

    at: float
    size: int = 0


class Connections:
    """The open connections; any thread may call any method.

    pynetdicom counts threads instead. A thread outlives a connection that requested no association.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Association, _Activity] = {}

    def opened(self, association: Association) -> None:
        """Add a connection."""
        with self._lock:
            self._open[association] = _Activity(time.monotonic())

    def closed(self, association: Association) -> None:
        """Remove a connection."""
        with self._lock:
            self._open.pop(association, None)

    def received(self, association: Association, size: int) -> int:
        """Record received bytes; return the size of the present message so far."""
        with self._lock:
            activity = self._open.get(association)
            if activity is None:
                return 0
            activity.at, activity.size = time.monotonic(), activity.size + size
            return activity.size

    def end_message(self, association: Association) -> None:
        """Record that a message has ended."""
        with self._lock:
            if association in self._open:
                self._open[association] = _Activity(time.monotonic())

    def all(self) -> list[Association]:
        """Return the open connections."""
        with self._lock:
            for one in [one for one in self._open if not (one.is_alive() or one.ident is None)]:
                del self._open[one]  # its threads have ended without closing it
            return list(self._open)

    def idlest(self, seconds: float) -> Association | None:
        """Return the connection that was idle for longest; None if none was idle for `seconds`."""
        now = time.monotonic()
        with self._lock:
            idle = {one: now - activity.at for one, activity in self._open.items()}
        longest = max(idle, key=lambda one: idle[one], default=None)
        return longest if longest is not None and idle[longest] >= seconds else None

    def is_open(self, association: Association) -> bool:
        """Return whether a connection is open."""
        with self._lock:
            return association in self._open


def close_connection(association: Association) -> None:
    """Close a connection at once; its threads then end."""
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
