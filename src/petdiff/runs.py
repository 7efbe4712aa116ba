"""Write results completely or not at all, and check that a resumed run has the same settings.

All results are written here. A file or folder is written under a hidden name in the folder of its
destination, flushed to the disk and renamed at the end. After an error before the rename (also a
full disk or an interrupt) it is removed. If the rename fails, the complete result is kept under a
name that the error states.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from petdiff import disk
from petdiff.errors import InputRefused, PetdiffError, UsageError

_UNFINISHED = ".unfinished-"
_MAX_STEM_BYTES = 180  # most file systems allow names of 255 bytes

_being_written: set[Path] = set()  # unfinished paths of this process


@contextmanager
def whole_folder(
    destination: str | Path, *, first_wins: bool = False, flush: bool = True
) -> Iterator[Path]:
    """Yield an empty folder that is renamed to `destination` when the block ends without error.

    This also checks that the disk can be written, so open it before long computations. An existing
    empty folder is kept (it may be a mount point, or have special permissions), and the entries are
    moved into it at the end.

    first_wins  if another process has made `destination` meanwhile, keep that one and drop this one
                (for caches), instead of raising an error
    flush       flush to the disk before renaming; not needed for caches

    Raises UsageError if `destination` is not empty, PetdiffError for errors of the disk; if the
    result was complete by then, the message says where it is.
    """
    final = absolute(destination)
    exists = _exists(final) and not first_wins
    if exists and not final.is_dir():
        raise UsageError(f"{destination} exists and is no folder: name a new one")
    if exists and not is_empty(final):
        raise UsageError(f"{destination} exists and is not empty: name another, or remove it")
    place = disk.place_entries if exists else disk.place_folder
    folder = final if exists else _first_existing_parent(final)
    with _hidden(
        final, folder, Path.mkdir, place, flush=flush, first_wins=first_wins
    ) as unfinished:
        yield unfinished


@contextmanager
def whole_additions(destination: str | Path) -> Iterator[Path]:
    """Yield an empty folder whose files are added to the folder `destination` at the end.

    `destination` may have other files, and several processes may add to it. All files appear or
    none, except after a kill during the renames; the last by name appears last.

    Raises as `whole_folder` does, and if one of the files exists.
    """
    final = absolute(destination)
    folder = final if _exists(final) else _first_existing_parent(final)
    if not folder.is_dir():
        raise UsageError(f"{destination} is a file: name a folder")
    with _hidden(final, folder, Path.mkdir, disk.place_tree) as unfinished:
        yield unfinished


@contextmanager
def whole_file(destination: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield the path of an empty file that is renamed to `destination` when the block ends.

    replace  replace an existing file, which is unchanged until then

    Raises as `whole_folder` does.
    """
    final = absolute(destination)
    if not replace:
        require_absent(destination)
    place = partial(disk.place_file, replace=replace)
    with _hidden(final, _first_existing_parent(final), Path.touch, place) as unfinished:
        yield unfinished


def require_absent(destination: str | Path) -> None:
    """Raise UsageError if a file or folder of this name exists."""
    if _exists(absolute(destination)):
        raise UsageError(f"{destination} exists: name another, or remove it")


def remove_unfinished(
    folder: Path, names: Collection[str] | None = None, unchanged_s: float = 0.0
) -> None:
    """Remove unfinished files of killed runs from a folder to which no other run writes.

    names        if other runs write to the folder: only the files and folders that they do not
                 write
    unchanged_s  if other runs write these files and folders, too: only what has not changed for
                 longer than a run takes to write them
    """
    stems = None if names is None else {f".{_stem(folder / name)}" for name in names}
    for entry in folder.iterdir():
        stem, mark, _ = entry.name.rpartition(_UNFINISHED)
        if mark and (stems is None or stem in stems) and _is_unchanged(entry, unchanged_s):
            disk.remove(entry)


def _is_unchanged(path: Path, seconds: float) -> bool:
    if not seconds:
        return True
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:  # finished or removed in this moment
        return False


def require_free(destination: str | Path, needed_bytes: int) -> None:
    """Raise PetdiffError unless the disk under `destination` has `needed_bytes` free.

    Nothing is checked on network drives that do not state their size.
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
    """Write `content` as indented UTF-8 JSON. Raises ValueError for NaN.

    Bytes of file names that are not UTF-8 become JSON escapes, which are read back unchanged.
    """
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_bytes((text + "\n").encode("utf-8", errors="backslashreplace"))


def replace_json(path: Path, content: Mapping[str, object] | BaseModel) -> None:
    """Write JSON as `write_json` to a whole file, which replaces an existing one."""
    with whole_file(path, replace=True) as unfinished:
        write_json(unfinished, content)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV in UTF-8; None is an empty cell.

    Bytes of file names that are not UTF-8 become escapes.
    """
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def begin_or_resume(record: Path, identity: Mapping[str, object]) -> None:
    """Write the settings of a new run to the file `record`, or compare those of a resumed run.

    identity  settings by name that must not change when the run is resumed, for JSON

    Raises UsageError that names each setting if the folder belongs to a run with other settings,
    InputRefused if the record is damaged.
    """
    now = json.loads(json.dumps(identity))
    if not _exists(record):
        record.parent.mkdir(parents=True, exist_ok=True)
        replace_json(record, now)
        return
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        changed = [
            f"{name} was {json.dumps(before.get(name))}, is {json.dumps(now.get(name))}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
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
def _hidden(
    final: Path,
    folder: Path,
    create: Callable[[Path], None],
    place: Callable[[Path, Path], None],
    *,
    flush: bool = True,
    first_wins: bool = False,
) -> Iterator[Path]:
    """Yield a hidden path in `folder`, which `place` moves to `final` when the block ends.

    `folder` exists, so that a failed run leaves no new parent folders. Within a folder that is
    itself unfinished, the path is `final` itself.
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
    is_kept = False
    _being_written.add(unfinished)
    try:
        try:
            yield unfinished
            if flush:
                disk.flush(unfinished)
        except Exception as problem:
            disk_error = _disk_error(problem, final, unfinished)
            if disk_error is None:
                raise
            raise disk_error from problem
        try:
            place(unfinished, final)
        except OSError as problem:
            if first_wins and isinstance(problem, disk.NameTakenError):
                return
            is_kept = True
            raise PetdiffError(_keep_result(unfinished, final, problem)) from problem
        disk.flush_folder(final.parent)
    finally:
        _being_written.discard(unfinished)
        if not is_kept:
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


def _disk_error(problem: Exception, final: Path, unfinished: Path) -> PetdiffError | None:
    """Return an error with a clear message if the disk has caused the problem; else None."""
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


def _keep_result(unfinished: Path, final: Path, problem: OSError) -> str:
    """Give a finished result that cannot be renamed a visible name; return the message."""
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
    """Return the path without links, "~" and ".."; UsageError if it is impossible."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a loop of links, "~" without a home
        raise UsageError(f"{path}: {problem}") from problem


def _exists(path: Path) -> bool:
    """Return whether a path exists. Raises PetdiffError if that cannot be determined."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        raise PetdiffError(f"cannot write {path}: {disk.reason(problem)}") from problem
    return True


def is_empty(folder: Path) -> bool:
    """Return whether a folder has only unfinished files of killed or other runs."""
    try:
        return all(_UNFINISHED in entry.name for entry in folder.iterdir())
    except OSError as problem:
        raise PetdiffError(f"cannot read {folder}: {disk.reason(problem)}") from problem


def _first_existing_parent(path: Path) -> Path:
    nearest = next(parent for parent in path.parents if _exists(parent))
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file, so {path} cannot be in it: name another place")
    return nearest


def _require_possible_names(folder: Path, final: Path) -> None:
    """Raise OSError if the file system refuses a name below `folder`."""
    for name in final.relative_to(folder).parts:
        try:
            (folder / name).lstat()
        except FileNotFoundError:
            continue


def _stem(path: Path) -> str:
    """Return the name, shortened so that a suffix can be added."""
    name = path.name
    while len(os.fsencode(name)) > _MAX_STEM_BYTES:
        name = name[:-1]
    return name
