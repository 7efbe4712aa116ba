"""The queue on disk: a folder for each state of a series, and renames between them.

receiving/  series whose images are coming in
ready/      complete series that wait for a worker
working/    series that a worker has
sending/    denoised series that have not reached all their destinations
done/       a record of each series that has
discard/    refused series, each with reason.txt

A series changes its state by one rename, so that a kill at any moment leaves it in exactly one
state. `recover` completes what a kill has interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from petdiff import disk
from petdiff.errors import PetdiffError, UsageError
from petdiff.node.entry import (
    IMAGES,
    ORIGIN,
    REASON,
    Done,
    Entry,
    Kind,
    Origin,
    ResultRecord,
    read_entry,
    read_record,
    write_reason,
    write_record,
)
from petdiff.node.log import log_line
from petdiff.runs import remove_unfinished

State = Literal["receiving", "ready", "working", "sending", "done", "discard"]
STATES: tuple[State, ...] = ("receiving", "ready", "working", "sending", "done", "discard")
# The reason of a series with missing images begins with this word.
INCOMPLETE = "incomplete"
_TAKEN: tuple[State, ...] = ("ready", "working", "sending")
_CACHED_SERIES = 8  # whose list of images is kept in memory


class Queue:
    """The series of a node. Any thread may call any method.

    Raises UsageError where the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._version = 0
        self._sources: OrderedDict[int, frozenset[str]] = OrderedDict()
        try:
            for state in STATES:
                (folder / state).mkdir(parents=True, exist_ok=True)
            self.incoming = folder / "receiving" / ".incoming"
            self.incoming.mkdir(exist_ok=True)
            if not os.access(folder / "receiving", os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as problem:
            raise UsageError(f"folder {folder} cannot be used ({disk.reason(problem)})") from None
        self._numbers: dict[str, int] = {}
        self._derived: set[str] = set()
        self._last = 0

    def recover(self) -> None:
        """Complete what a kill has interrupted. Call it once, before all other methods."""
        for file in self.incoming.iterdir():
            disk.remove(file)
        for state in STATES:
            for path in (self.folder / state).iterdir():
                if path.name.startswith(".") and path != self.incoming:
                    disk.remove(path)
        for entry in self.entries("working"):
            remove_unfinished(entry.path)
            self._resume(entry, "sending" if entry.result_record() else "ready")
        for entry in self.entries("receiving"):
            self._resume(entry, None)
        for entry in self.entries("sending"):
            if self._done_file(entry.number).exists():
                self._remove(entry.path)
            else:
                disk.remove(entry.images)
        self._index()

    def _resume(self, entry: Entry, state: State | None) -> None:
        if entry.reason():
            self.move(entry, "discard")
        elif state is not None:
            self.move(entry, state)

    def _index(self) -> None:
        """Read the numbers of the accepted series, and the highest number."""
        self._numbers = {
            entry.origin.series: entry.number
            for state in _TAKEN
            for entry in self.entries(state)
            if entry.origin.kind == "pet"
        }
        numbers = [entry.number for state in STATES for entry in self.entries(state)]
        self._derived = {
            one.made for entry in self.entries("sending") if (one := entry.result_record())
        }
        for done in self.done():
            self._numbers[done.origin.series] = done.origin.number
            self._derived.add(done.answer.made)
            numbers.append(done.origin.number)
        self._last = max(numbers, default=0)

    def entries(self, state: State) -> list[Entry]:
        """Return the series of a state, by number."""
        found = []
        for name in sorted(os.listdir(self.folder / state)):
            if not name.startswith(".") and not name.endswith(".json"):
                entry = read_entry(self.folder / state / name)
                if entry is not None:
                    found.append(entry)
        return found

    def done(self) -> Iterator[Done]:
        """Yield the records of the series that are done, by number."""
        for file in sorted((self.folder / "done").glob("*.json")):
            record = read_record(file, Done)
            if record is not None:
                yield record

    def counts(self) -> dict[State, int]:
        """Return the number of series in each state."""
        return {
            state: sum(not name.startswith(".") for name in os.listdir(self.folder / state))
            for state in STATES
        }

    def create(self, kind: Kind, series: str, sender: str, images: int = 0) -> Entry:
        """Begin a series in receiving/."""
        with self._lock:
            self._last += 1
            origin = Origin(
                number=self._last, kind=kind, series=series, sender=sender, images=images
            )
            path = self._path("receiving", self._last)
            unfinished = path.with_name(f".{path.name}")
            disk.remove(unfinished)
            try:
                (unfinished / IMAGES).mkdir(parents=True)
                write_record(unfinished / ORIGIN, origin)
                os.rename(unfinished, path)
            except OSError:
                disk.remove(unfinished)
                raise
            disk.flush_folder(path.parent)
            return Entry(path, origin)

    def take_back(self, series: str) -> Entry | None:
        """Move an incomplete series from discard/ to receiving/; None if there is none."""
        with self._lock:
            for entry in reversed(self.entries("discard")):
                if entry.origin.series == series and entry.reason().startswith(INCOMPLETE):
                    moved = self.move(entry, "receiving")
                    (moved.path / REASON).unlink(missing_ok=True)
                    return moved
        return None

    def move(self, entry: Entry, state: State) -> Entry:
        """Move a series to another state, by one rename."""
        target = self._path(state, entry.number)
        with self._lock:
            os.rename(entry.path, target)
            if entry.origin.kind == "pet":
                if state in _TAKEN:
                    self._numbers[entry.origin.series] = entry.number
                elif self._numbers.get(entry.origin.series) == entry.number:
                    del self._numbers[entry.origin.series]
            record = Entry(target, entry.origin).result_record() if state == "sending" else None
            if record is not None:
                self._derived.add(record.made)
        self.wake()
        disk.flush_folder(entry.path.parent)
        disk.flush_folder(target.parent)
        return Entry(target, entry.origin)

    @property
    def version(self) -> int:
        """A number that changes whenever a series moves."""
        return self._version

    def wait(self, version: int, seconds: float) -> None:
        """Wait until a series has moved since `version`, at most for `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, seconds)

    def wake(self) -> None:
        """End the waiting of all threads."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def discard(self, entry: Entry, reason: str) -> None:
        """Move a series to discard/ and write reason.txt, unless the disk is full."""
        try:
            write_reason(entry, reason)
        except OSError as problem:
            log_line(
                f"series {entry.number}: reason.txt cannot be written ({disk.reason(problem)})"
            )
        self.move(entry, "discard")

    def finish(self, entry: Entry, record: ResultRecord, destinations: tuple[str, ...]) -> None:
        """Record that a result has reached its destinations, and remove it."""
        done = Done(origin=entry.origin, answer=record, destinations=destinations)
        with self._lock:
            write_record(self._done_file(entry.number), done)
            self._remove(entry.path)

    def number_of(self, series: str) -> int | None:
        """Return the number of an accepted series; None for a series that was not accepted."""
        with self._lock:
            return self._numbers.get(series)

    def derived_series(self) -> frozenset[str]:
        """Return the SeriesInstanceUIDs of the series that this node has made."""
        with self._lock:
            return frozenset(self._derived)

    def holds_image(self, number: int, image: str) -> bool:
        """Return whether an accepted series contains an image, by its SOPInstanceUID."""
        with self._lock:
            if number not in self._sources:
                self._sources[number] = self._find_sources(number)
                while len(self._sources) > _CACHED_SERIES:
                    self._sources.popitem(last=False)
            return image in self._sources[number]

    def _find_sources(self, number: int) -> frozenset[str]:
        done = read_record(self._done_file(number), Done)
        if done is not None:
            return frozenset(done.answer.sources)
        for state in reversed(_TAKEN):
            entry = read_entry(self._path(state, number))
            if entry is not None:
                record = entry.result_record()
                return frozenset(record.sources if record else entry.image_names())
        return frozenset()

    def prune(self, discard_days: float, discard_bytes: float, done_days: float) -> int:
        """Remove old series and records; return the number of refused series removed."""
        now, removed, total = time.time(), 0, 0
        for entry in reversed(self.entries("discard")):
            total += bytes_in(entry.path)
            if total > discard_bytes or _age_s(entry.path, now) > 86_400 * discard_days:
                self._remove(entry.path)
                removed += 1
        files = sorted((self.folder / "done").glob("*.json"))
        for file in files[:-1]:  # the last record keeps the highest number
            if _age_s(file, now) > 86_400 * done_days:
                self._forget(file)
        return removed

    def _forget(self, file: Path) -> None:
        record = read_record(file, Done)
        with self._lock:
            file.unlink(missing_ok=True)
            if record:
                self._derived.discard(record.answer.made)
            if record and self._numbers.get(record.origin.series) == record.origin.number:
                del self._numbers[record.origin.series]

    def _remove(self, path: Path) -> None:
        """Rename a folder to a hidden name and remove it; `recover` removes it after a kill."""
        hidden = path.with_name(f".removed-{path.name}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, hidden)
        disk.remove(hidden)

    def _path(self, state: State, number: int) -> Path:
        return self.folder / state / f"{number:08d}"

    def _done_file(self, number: int) -> Path:
        return self.folder / "done" / f"{number:08d}.json"


def bytes_in(folder: Path) -> int:
    """Return the bytes of the files in a folder; files that disappear meanwhile are skipped."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as problem:
        raise PetdiffError(f"{folder} cannot be read ({disk.reason(problem)})") from None


def _age_s(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0
