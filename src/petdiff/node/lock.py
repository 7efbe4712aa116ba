"""One node for each folder: a lock that lasts until the last process of the node has ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

from petdiff.errors import UsageError

_WAIT_S = 20.0  # until the workers of a killed node have ended


def lock_folder(folder: Path, wait_s: float = _WAIT_S) -> int:
    """Lock a folder for this process and those that inherit the returned file descriptor.

    Raises UsageError if another node holds the lock for longer than `wait_s`.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while not _locked(descriptor):
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise UsageError(f"folder {folder} is used by another node: stop that one first")
        time.sleep(0.1)
    return descriptor


def _locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
