"""What processes of a cluster do in tests; they import it, so it stands in a module."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from petdiff.errors import InputRefused


def double(number: int) -> int:
    """Return twice the number; 13 is refused, and 14 is an error that nobody expected."""
    if number == 13:
        raise InputRefused("13 is no number")
    if number == 14:
        raise ZeroDivisionError("14")
    return 2 * number


def die_once(marker: Path) -> str:
    """Kill this process on the first call, and answer on the second."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def die_always(marker: Path) -> None:
    """Kill this process on each call."""
    os.kill(os.getpid(), signal.SIGKILL)
