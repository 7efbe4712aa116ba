"""The files of a folder in which scans are searched; petdiff.io.archives has those of zips."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from petdiff.errors import InputRefused
from petdiff.terminal import one_line

_CHUNK_BYTES = 1 << 20
# Protected folders of operating systems, which contain no scans.
_SYSTEM_FOLDERS = frozenset(
    {
        "lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trashes", ".Spotlight-V100",
        ".fseventsd", ".TemporaryItems", ".DocumentRevisions-V100",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A file: its name within the folder or zip, its size in bytes, and a function to open it.

    The name is one line of printable characters, for messages.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]

    @property
    def folder(self) -> PurePath:
        """The folder that holds the file, within the folder or zip that was searched."""
        return PurePath(self.name).parent


def folder_entries(folder: Path, *, recursive: bool = True) -> list[Entry]:
    """Return the files of a folder, in the order of their names.

    Links to folders are not followed, to avoid endless loops. Files that macOS adds (`__MACOSX`,
    `._…`) are left out. Raises InputRefused for a folder that cannot be read.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse_folder):
        found += [Path(parent) / name for name in files]
        if not recursive:
            folders.clear()
    return [
        file_entry(file, str(file.relative_to(folder)))
        for file in sorted(found)
        if _may_be_slice(file, file.relative_to(folder))
    ]


def file_entry(file: Path, name: str) -> Entry:
    """Return the entry of one file on the disk. Errors are raised when it is opened."""

    def opened() -> BinaryIO:
        with reading(name):
            return file.open("rb")

    try:
        size = file.stat().st_size
    except OSError:
        size = 0
    return Entry(one_line(name), size, opened)


def is_of_macos(inside: PurePath) -> bool:
    """Return whether macOS has added a file; it contains no scan."""
    return "__MACOSX" in inside.parts or inside.name.startswith("._")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise InputRefused naming `what` for an error of the file system within the block."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise InputRefused(f"{one_line(what)} cannot be read: {reason}") from problem


class Bounded(io.BufferedIOBase):
    """A stream that reads at most its size, and at most a chunk at once.

    So a wrong length in a header takes no memory, and a decompressor does not read ahead.
    """

    def __init__(self, stream: BinaryIO, size: int, start: int = 0):
        self._stream, self._size, self._start = stream, size, start
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position from the start of the window."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the window, and return the new position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, fewer only at the end."""
        available = max(0, self._size - self._position)
        wanted = available if size is None or size < 0 else min(size, available)
        if wanted == 0:
            return b""
        self._stream.seek(self._start + self._position)
        parts: list[bytes] = []
        while wanted > 0 and (part := self._stream.read(min(wanted, _CHUNK_BYTES))):
            parts.append(part)
            wanted -= len(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the stream, unless this is a window on another stream."""
        if self._start == 0:
            self._stream.close()
        super().close()


def _may_be_slice(file: Path, inside: PurePath) -> bool:
    """Return whether a file may be a slice: regular, or a link with a missing target."""
    if is_of_macos(inside):
        return False
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:  # no permission, a loop of links, or a link to a file that was not fetched
        return not file.name.startswith(".")


def refuse_folder(problem: OSError) -> None:
    """Raise InputRefused for a folder that cannot be read, except folders of the system."""
    folder = PurePath(str(problem.filename))
    if folder.name not in _SYSTEM_FOLDERS:
        raise InputRefused(
            f"{one_line(str(folder))} cannot be read ({problem.strerror}), and may hold a part of "
            "the scan: allow it, or give the folder of the scan alone"
        ) from problem
