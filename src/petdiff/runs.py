"""Results that appear whole or not at all.

A folder is written under a hidden name beside its destination, flushed to the disk and renamed at
the end. Whatever goes wrong before that (an error, a full disk, an interrupt) leaves nothing.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from petdiff.errors import PetdiffError, UsageError


@contextmanager
def whole_folder(destination: str | Path) -> Iterator[Path]:
    """Yield an empty folder that takes the name `destination` when the block ends well.

    Opening it is also the check that the disk can be written, so open it before minutes of work.
    Raises UsageError where `destination` holds something already, PetdiffError where the disk
    refuses.
    """
    final = _absolute(destination)
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise UsageError(f"{destination} exists and is not empty: name another, or remove it")
    with _aside(final, create=Path.mkdir) as unfinished:
        yield unfinished
        if final.exists():
            final.rmdir()


@contextmanager
def whole_file(destination: str | Path) -> Iterator[Path]:
    """Yield the path of an empty file, which takes the name `destination` when the block ends well.

    Raises as `whole_folder` does.
    """
    final = _absolute(destination)
    if final.exists():
        raise UsageError(f"{destination} exists: name another, or remove it")
    with _aside(final, create=Path.touch) as unfinished:
        yield unfinished


def require_free(destination: str | Path, needed_bytes: int) -> None:
    """Raise PetdiffError unless the disk under `destination` has `needed_bytes` to spare."""
    folder = _first_existing_parent(_absolute(destination))
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise PetdiffError(
            f"{folder} has {free_bytes / 1e6:.0f} MB free and the results need about "
            f"{needed_bytes / 1e6:.0f} MB: make room, or name another place"
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as UTF-8 JSON that a person can read; NaN is refused, as JSON has none."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def _aside(final: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a hidden path on the disk of `final`, renamed to it at the end, removed on failure."""
    # In the first folder that exists, so that a failed run leaves no new parents behind either.
    folder = _first_existing_parent(final)
    unfinished = folder / f".{final.name}.unfinished-{secrets.token_hex(4)}"
    try:
        create(unfinished)
    except OSError as problem:
        raise PetdiffError(f"cannot write in {folder}: {problem.strerror}") from problem
    try:
        yield unfinished
        _flush(unfinished)
        final.parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(final)
        _fsync(final.parent)
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PetdiffError(
            f"the disk of {folder} is full, so {final.name} was not written: make room, or name "
            "another place"
        ) from problem
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Push a file, or a folder and all it holds, from the cache to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
    _fsync(path)


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def _first_existing_parent(path: Path) -> Path:
    nearest = next(parent for parent in path.parents if parent.exists())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file, so {path} cannot lie in it: name another place")
    return nearest
