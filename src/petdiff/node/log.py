"""The node's log: one line an event, with the time, and nothing that names a patient.

Series are named by the node's own number, peers by AE title and address.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from petdiff.terminal import one_line, print_message

_PAUSE_S = 10.0
_MAX_REMEMBERED_LINES = 1000
_lock = threading.Lock()
_last: dict[str, float] = {}


def log_line(text: str) -> None:
    """Print one line to stderr, with the time in UTC."""
    print_message(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {one_line(text)}")


def log_rarely(text: str) -> None:
    """Print a line, unless the same line was printed in the last 10 seconds."""
    now = time.monotonic()
    with _lock:
        if now - _last.get(text, -_PAUSE_S) < _PAUSE_S:
            return
        if len(_last) >= _MAX_REMEMBERED_LINES:
            _last.clear()
        _last[text] = now
    log_line(text)
