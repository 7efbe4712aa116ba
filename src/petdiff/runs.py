"""Results that appear whole or not at all, and folders that know which run they belong to.

This is the only place that writes results. A file or folder is written under a hidden name beside
its destination, flushed to the disk and renamed at the end. Whatever goes wrong before that (an
error, a full disk, an interrupt) leaves nothing. Whatever goes wrong after that (the last rename)
keeps the finished result under a name that the error states.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from petdiff import disk
from petdiff.errors import InputRefused, PetdiffError, UsageError

_UNFINISHED = ".unfinished-"
_LONGEST_STEM = 180  # bytes; most file systems allow names of 255

Place = Callable[[Path, Path], None]

_being_written: set[Path] = set()  # what this process has not finished


@contextmanager
def whole_folder(
    destination: str | Path, *, first_wins: bool = False, flush: bool = True
) -> Iterator[Path]:
    """Yield an empty folder that takes the name `destination` when the block ends well.

    Opening it is also the check that the disk can be written, so open it before minutes of work.
    An empty folder that exists already is kept (it may be a mount, or have its own permissions),
    and its entries are moved into it at the end.

    first_wins  where another process has made `destination` meanwhile, leave it as it is and drop
                this one (for caches), instead of raising
    flush       write to the disk before renaming; caches that can be made again need not

    Raises UsageError where `destination` holds something already, PetdiffError where the disk
    refuses; if the result was complete by then, the message says where it was kept.
    """
    final = absolute(destination)
    exists = _exists(final) and not first_wins
    if exists and not (final.is_dir() and is_empty(final)):
        raise UsageError(f"{destination} exists and is not empty: name another, or remove it")
    place = disk.place_entries if exists else disk.place_folder
    folder = final if exists else _first_existing_parent(final)
    with _aside(final, folder, Path.mkdir, place, flush=flush, first_wins=first_wins) as unfinished:
        yield unfinished


@contextmanager
def whole_additions(destination: str | Path) -> Iterator[Path]:
    """Yield an empty folder whose files are added to the folder `destination` at the end.

    `destination` may exist and hold other files, and several processes may add to it. All files
    appear or none, but for a kill while they are renamed; the last by name appears last.

    Raises as `whole_folder` does, and where one of the files exists.
    """
    final = absolute(destination)
    folder = final if _exists(final) else _first_existing_parent(final)
    if not folder.is_dir():
        raise UsageError(f"{destination} is a file: name a folder")
    with _aside(final, folder, Path.mkdir, disk.place_tree) as unfinished:
        yield unfinished


@contextmanager
def whole_file(destination: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield the path of an empty file, which takes the name `destination` when the block ends well.

    replace  take the place of an existing file, which stays as it is until then

    Raises as `whole_folder` does.
    """
    final = absolute(destination)
    if not replace:
        require_absent(destination)
    place = partial(disk.place_file, replace=replace)
    with _aside(final, _first_existing_parent(final), Path.touch, place) as unfinished:
        yield unfinished


def require_absent(destination: str | Path) -> None:
    """Raise UsageError where there is a file or folder of this name."""
    if _exists(absolute(destination)):
        raise UsageError(f"{destination} exists: name another, or remove it")


def remove_unfinished(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what killed runs left half-written in a folder that no other run writes to.

    names  of the files and folders that no other run writes, where others write beside them
    """
    stems = None if names is None else {f".{_stem(folder / name)}" for name in names}
    for entry in folder.iterdir():
        stem, mark, _ = entry.name.rpartition(_UNFINISHED)
        if mark and (stems is None or stem in stems):
            disk.remove(entry)


def require_free(destination: str | Path, needed_bytes: int) -> None:
    """Raise PetdiffError unless the disk under `destination` has `needed_bytes` to spare.

    Some network drives do not tell their size; there nothing is checked.
    """
    folder = _first_existing_parent(absolute(destination))
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return
    if usage.total > 0 and usage.free < needed_bytes:
        raise PetdiffError(
            f"{folder} has {usage.free / 1e6:.0f} MB free and the results need about "
            f"{needed_bytes / 1e6:.0f} MB: make room, or name another place"
        )


def write_json(path: Path, content: Mapping[str, object] | BaseModel) -> None:
    """Write `content` as UTF-8 JSON that a person can read; NaN is refused, as JSON has none.

    Bytes of file names that are not UTF-8 become JSON escapes, which read back the same.
    """
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_bytes((text + "\n").encode("utf-8", errors="backslashreplace"))


def begin_or_resume(record: Path, identity: Mapping[str, object], *, write: bool = True) -> None:
    """Keep in the file `record` what shapes a run, or compare with what is kept there.

    identity  JSON-able settings by name, which may not change when the run is resumed
    write     whether this process may begin the run (of several processes the first does)

    Raises UsageError, naming each setting, where the folder belongs to a run with other settings,
    or holds something else; InputRefused where the record is damaged.
    """
    now = json.loads(json.dumps(identity))
    if not _exists(record):
        if write:
            record.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(record, replace=True) as unfinished:
                write_json(unfinished, now)
        return
    try:
        was = json.loads(record.read_text(encoding="utf-8"))
        changed = [
            f"{name} was {json.dumps(was.get(name))}, is {json.dumps(now.get(name))}"
            for name in {**was, **now}
            if was.get(name) != now.get(name)
        ]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise InputRefused(
            f"{record} is damaged, so the run cannot be resumed: name a new folder"
        ) from problem
    if changed:
        raise UsageError(
            f"{record.parent} belongs to a run with other settings: {'; '.join(changed)}: use the "
            "same settings, or name a new folder"
        )


@contextmanager
def _aside(
    final: Path,
    folder: Path,
    create: Callable[[Path], None],
    place: Place,
    *,
    flush: bool = True,
    first_wins: bool = False,
) -> Iterator[Path]:
    """Yield a hidden path in `folder`, which `place` moves to `final` when the block ends.

    `folder` exists already, so that a failed run leaves no new parents behind. Inside a folder that
    is itself unfinished there is nothing to hide, and the path is `final` itself.
    """
    if any(final.is_relative_to(outer) for outer in _being_written):
        with _in_place(final, create):
            yield final
        return
    unfinished = folder / f".{_stem(final)}{_UNFINISHED}{secrets.token_hex(4)}"
    try:
        _require_possible_names(folder, final)
        create(unfinished)
    except OSError as problem:
        raise PetdiffError(f"cannot write in {folder}: {disk.reason(problem)}") from problem
    kept = False
    _being_written.add(unfinished)
    try:
        try:
            yield unfinished
            if flush:
                disk.flush(unfinished)
        except Exception as problem:
            clear = _explained(problem, final, unfinished)
            if clear is None:
                raise
            raise clear from problem
        try:
            place(unfinished, final)
        except OSError as problem:
            if first_wins and isinstance(problem, disk.NameTakenError):
                return
            kept = True
            raise PetdiffError(_where_kept(unfinished, final, problem)) from problem
        disk.flush_folder(final.parent)
    finally:
        _being_written.discard(unfinished)
        if not kept:
            disk.remove(unfinished)


@contextmanager
def _in_place(final: Path, create: Callable[[Path], None]) -> Iterator[None]:
    """Create `final` for the block, and remove it if the block fails."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if not final.is_dir():
        create(final)
    try:
        yield
    except BaseException:
        disk.remove(final)
        raise


def _explained(problem: Exception, final: Path, unfinished: Path) -> PetdiffError | None:
    """Return a clear error where it was the disk that refused what was to be written."""
    if isinstance(problem, PetdiffError):
        return None
    if disk.is_disk_full(problem):
        return PetdiffError(
            f"the disk of {unfinished.parent} is full, so {final.name} was not written"
            f"{' and stays as it was' if _exists(final) else ''}: make room, or name another place"
        )
    if isinstance(problem, OSError) and str(problem.filename or "").startswith(str(unfinished)):
        return PetdiffError(f"cannot write {final}: {disk.reason(problem)}")
    return None


def _where_kept(unfinished: Path, final: Path, problem: OSError) -> str:
    """Give a finished result that cannot take its name a visible one; return the message."""
    kept = unfinished.with_name(f"{_stem(final)}.kept-{secrets.token_hex(4)}")
    try:
        unfinished.rename(kept)
    except OSError:
        kept = unfinished
    if isinstance(problem, disk.NameTakenError):
        return (
            f"{final} was made by another run meanwhile and is left as it is: the result of this "
            f"run is complete in {kept}"
        )
    return (
        f"cannot rename the result to {final} ({disk.reason(problem)}): it is complete in {kept}, "
        "move it from there"
    )


def absolute(path: str | Path) -> Path:
    """Return the path without links, "~" and ".."; UsageError where it leads nowhere."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a loop of links, "~" without a home
        raise UsageError(f"{path}: {problem}") from problem


def _exists(path: Path) -> bool:
    """Return whether there is something of this name; PetdiffError where that cannot be known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        raise PetdiffError(f"cannot write {path}: {disk.reason(problem)}") from problem
    return True


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing but what killed or other runs have not finished."""
    try:
        return all(_UNFINISHED in entry.name for entry in folder.iterdir())
    except OSError as problem:
        raise PetdiffError(f"cannot read {folder}: {disk.reason(problem)}") from problem


def _first_existing_parent(path: Path) -> Path:
    nearest = next(parent for parent in path.parents if _exists(parent))
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file, so {path} cannot lie in it: name another place")
    return nearest


def _require_possible_names(folder: Path, final: Path) -> None:
    """Raise OSError where a name below `folder` is one that its file system refuses."""
    for name in final.relative_to(folder).parts:
        try:
            (folder / name).lstat()
        except FileNotFoundError:
            continue


def _stem(path: Path) -> str:
    """Return the name, short enough for something to be added."""
    name = path.name
    while len(os.fsencode(name)) > _LONGEST_STEM:
        name = name[:-1]
    return name
