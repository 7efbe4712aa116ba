"""File operations that work on any file system: flush, move, remove.

Network drives, FUSE mounts and Windows lack some operations of a local Linux disk. Operations that
only make a result safer (flushing a folder) are skipped there. Errors that would lose a result are
raised.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Errors of fsync that mean that data may be lost. All others mean that the file system, or this
# kind of handle, has no fsync.
_DATA_LOST = (*_FULL, errno.EIO, errno.EFBIG, errno.ESTALE, errno.ENODEV)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
# Virus scanners and network drives hold a new file for a moment.
_BUSY = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY)
_PAUSES_S = (0.05, 0.2, 0.75)


class NameTakenError(OSError):
    """Another process has made the target meanwhile."""


def is_disk_full(problem: BaseException) -> bool:
    """Return whether an exception, or its cause, is a full disk or quota."""
    cause: BaseException | None = problem
    for _ in range(10):
        if cause is None:
            return False
        if isinstance(cause, OSError) and (cause.errno in _FULL or _is_short_write(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _is_short_write(problem: OSError) -> bool:
    """Return whether numpy's error is a full disk: "100 requested and 0 written", no errno."""
    return problem.errno is None and "requested and" in str(problem)


def reason(problem: OSError) -> str:
    """Return what the operating system said, without number and path."""
    return problem.strerror or str(problem) or type(problem).__name__


def described(problem: Exception) -> str:
    """Return an unexpected error as text: one of the file system by its path, others by kind."""
    if isinstance(problem, OSError) and problem.errno is not None:
        where = f"{problem.filename}: " if problem.filename is not None else ""
        return f"{where}{reason(problem)}"
    return f"{type(problem).__name__}: {problem}"


def flush(path: Path) -> None:
    """Write a file, or a folder with all that it holds, from the cache to the disk.

    If the file system has no fsync for folders or for this handle, nothing is done. Raises OSError
    if data may be lost.
    """
    if path.is_dir():
        for entry in path.iterdir():
            flush(entry)
        flush_folder(path)
        return
    descriptor = _opened(path)
    if descriptor is None:
        return
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno in _DATA_LOST:
            raise OSError(problem.errno, reason(problem), str(path)) from problem
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk, if the file system supports this."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError:  # EINVAL on network drives, EBADF, ENOTSUP: the data itself is flushed
        pass
    finally:
        os.close(descriptor)


def _opened(file: Path) -> int | None:
    """Open a file to flush it: for writing, as Windows asks, or else for reading, or not at all."""
    for mode in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(file, mode)
        except PermissionError:
            continue
        except OSError as problem:
            if problem.errno not in (errno.EROFS, errno.ETXTBSY, errno.ENOTSUP, errno.EINVAL):
                raise
    return None


def place_folder(source: Path, target: Path) -> None:
    """Give a finished folder the name `target`, which does not exist or is an empty folder.

    Raises NameTakenError if another process has filled `target`, OSError if it cannot be made;
    `source` is then complete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt" and target.is_dir() and not any(target.iterdir()):
        target.rmdir()  # Windows cannot rename to an existing folder
    _move(source, target, os.rename)


def place_entries(source: Path, target: Path) -> None:
    """Move all that a finished folder holds into the existing folder `target`, all or nothing."""
    moved: list[Path] = []
    try:
        for entry in sorted(source.iterdir()):
            if os.path.lexists(target / entry.name):
                raise NameTakenError(errno.EEXIST, f"{entry.name} exists")
            _move(entry, target / entry.name, os.rename)
            moved.append(target / entry.name)
    except BaseException:
        for entry in moved:
            _move(entry, source / entry.name, os.rename)
        raise


def place_tree(source: Path, target: Path) -> None:
    """Move the files of a finished folder to the same places in `target`, all or none.

    Folders that are missing are made; the last file by name comes last. Raises NameTakenError where
    one of the files exists.
    """
    files = sorted(entry.relative_to(source) for entry in source.rglob("*") if entry.is_file())
    moved: list[Path] = []
    try:
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target / file):
                raise NameTakenError(errno.EEXIST, f"{file} exists")
            _move(source / file, target / file, os.rename)
            moved.append(file)
    except BaseException:
        for file in moved:
            _move(target / file, source / file, os.rename)
        raise


def place_file(source: Path, target: Path, *, replace: bool) -> None:
    """Give a finished file the name `target`; without `replace`, only where there is none.

    Raises NameTakenError if another process has made `target`, OSError if it cannot be made;
    `source` is then complete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if replace:
        _patiently(os.replace, source, target)
        return
    # An empty file claims the name: that needs no hard links and no locks.
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError as problem:
        raise NameTakenError(*problem.args) from problem
    try:
        _move(source, target, os.replace)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Remove a file or folder if it is there; an interrupt is obeyed after that."""
    try:
        _remove(path)
    except KeyboardInterrupt:
        _remove(path)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _move(source: Path, target: Path, rename: Callable[[Path, Path], None]) -> None:
    """Rename, or copy where the file system cannot rename (across mounts, object stores)."""
    try:
        _patiently(rename, source, target)
        return
    except NameTakenError:
        raise
    except OSError as problem:
        cannot_rename = problem
    try:
        _copy(source, target)
    except NameTakenError:
        raise
    except OSError:
        raise cannot_rename from None


def _patiently(rename: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    """Rename, and try again for a second where another program holds the file or folder."""
    for pause_s in (*_PAUSES_S, None):
        try:
            rename(source, target)
            return
        except OSError as problem:
            if problem.errno in _TAKEN and os.path.lexists(target):
                raise NameTakenError(*problem.args) from problem
            if pause_s is None or problem.errno not in _BUSY:
                raise
            time.sleep(pause_s)


def _copy(source: Path, target: Path) -> None:
    """Copy a file onto a new or empty file, or a folder to a new one; a failure leaves nothing."""
    if not source.is_dir():
        try:
            shutil.copyfile(source, target)
            flush(target)
        except BaseException:
            remove(target)
            raise
        return
    try:
        target.mkdir()
    except FileExistsError as problem:
        raise NameTakenError(*problem.args) from problem
    try:
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
        flush_folder(target)
    except BaseException:
        remove(target)
        raise
