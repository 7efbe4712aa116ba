"""Locks of folders: one process at a time, until the last process that holds the lock has ended."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from petdiff import disk
from petdiff.errors import PetdiffError, UsageError

_POLL_S = 0.1
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # errors of such file systems


def lock_folder(folder: Path, user: str, wait_s: float = 0.0) -> int:
    """Lock a folder for this process and those that inherit the returned file descriptor.

    The lock is on the file `lock` in it, and ends with the processes, also if they are killed. On
    Windows and on file systems without locks, the folder is not locked.

    user    what uses the folder, for the message: node, training

    Raises UsageError if another process holds the lock for longer than `wait_s`, PetdiffError if
    the folder cannot be written.
    """
    file, deadline = folder / "lock", time.monotonic() + wait_s
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            raise PetdiffError(f"cannot write in {folder}: {disk.reason(problem)}") from problem
        if _take(descriptor) and _is_at(file, descriptor):
            return descriptor
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise UsageError(
                f"folder {folder} is used by another {user}: stop that one first, or name another "
                "folder"
            )
        time.sleep(_POLL_S)


@contextmanager
def locked_folder(folder: Path, user: str) -> Iterator[None]:
    """Lock a folder, as `lock_folder` does, for the block; its file is removed at the end."""
    descriptor = lock_folder(folder, user)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder was removed; Windows removes no open file
            (folder / "lock").unlink()
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Lock an open file if no other process has; return whether that was so."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        if problem.errno not in _WITHOUT_LOCKS:
            raise
    return True


def _is_at(file: Path, descriptor: int) -> bool:
    """Return whether a file is still the opened one, and not removed by its last user."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False
