"""Which connections of the DICOM port are open, when each was last heard, and what it sends."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from pynetdicom.association import Association


@dataclass
class _Heard:
    """When a connection was last heard, and the bytes of its message so far."""

    at: float
    size: int = 0


class Connections:
    """The open connections; any thread may call any method.

    pynetdicom counts threads, which outlive a connection that never asked for an association.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Association, _Heard] = {}

    def opened(self, association: Association) -> None:
        """Add a connection."""
        with self._lock:
            self._open[association] = _Heard(time.monotonic())

    def closed(self, association: Association) -> None:
        """Remove a connection."""
        with self._lock:
            self._open.pop(association, None)

    def heard(self, association: Association, size: int) -> int:
        """Note that bytes have come; return those of the message so far."""
        with self._lock:
            heard = self._open.get(association)
            if heard is None:
                return 0
            heard.at, heard.size = time.monotonic(), heard.size + size
            return heard.size

    def end_message(self, association: Association) -> None:
        """Note that the bytes of the next message count anew."""
        with self._lock:
            if association in self._open:
                self._open[association] = _Heard(time.monotonic())

    def all(self) -> list[Association]:
        """Return the open connections."""
        with self._lock:
            for one in [one for one in self._open if not (one.is_alive() or one.ident is None)]:
                del self._open[one]  # its threads have ended without closing it
            return list(self._open)

    def idlest(self, seconds: float) -> Association | None:
        """Return the connection that was silent for longest; None if all spoke in these seconds."""
        now = time.monotonic()
        with self._lock:
            silent = {one: now - heard.at for one, heard in self._open.items()}
        longest = max(silent, key=lambda one: silent[one], default=None)
        return longest if longest is not None and silent[longest] >= seconds else None

    def is_open(self, association: Association) -> bool:
        """Return whether a connection is open."""
        with self._lock:
            return association in self._open


def hang_up(association: Association) -> None:
    """Close a connection at once; its threads then end by themselves."""
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
