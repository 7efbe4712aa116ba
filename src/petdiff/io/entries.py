"""The files of a folder or a zip, alike, with archives refused that could do harm.

A zip is read in place: nothing of it is ever written to the disk.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from petdiff.errors import InputRefused

_MOST_ENTRIES = 50_000  # a dynamic total-body study has some 30,000 files
_MOST_BYTES = 8 << 30
_MOST_BYTES_EACH = 1 << 30
# Deflate reaches 1000 at most, and PET scans pack to 1/2 … 1/20: but a small archive of much air
# is harmless whatever its ratio.
_MOST_RATIO = 200
_HARMLESS_BYTES = 64 << 20


@dataclass(frozen=True)
class Entry:
    """A file by its name within the folder or zip, and how to open it."""

    name: str
    open: Callable[[], BinaryIO]


@contextmanager
def entries_of(path: Path) -> Iterator[list[Entry]]:
    """All files under a folder, at any depth, or within a zip; in the order of their names."""
    if path.is_dir():
        yield folder_entries(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.name)
            yield [
                _zip_entry(archive, member, path.name)
                for member in sorted(archive.infolist(), key=lambda m: m.filename)
                if member.filename and not member.is_dir()
            ]
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as problem:
        raise InputRefused(f"{path.name} is not a sound zip: {problem}") from problem


def folder_entries(folder: Path, *, recursive: bool = True) -> list[Entry]:
    """The files of a folder; links to folders are not followed, so that no loop can catch us."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        found += [Path(parent) / name for name in files]
        if not recursive:
            folders.clear()
    return [
        Entry(str(file.relative_to(folder)), lambda file=file: file.open("rb"))  # type: ignore[misc]
        for file in sorted(found)
        if file.is_file()
    ]


def check_archive(archive: zipfile.ZipFile, name: str) -> None:
    """Raise InputRefused for an archive that reaches out of itself or unpacks out of all bounds."""
    members = archive.infolist()
    if len(members) > _MOST_ENTRIES:
        raise InputRefused(f"{name} holds {len(members)} entries, more than {_MOST_ENTRIES}")
    for member in members:
        inside = PureWindowsPath(member.filename)  # knows either slash, and drives
        if inside.drive or inside.root or ".." in inside.parts:
            raise InputRefused(f"{name} holds {member.filename!r}, a path that leads out of it")
        if member.flag_bits & 0x1:
            raise InputRefused(f"{name} is encrypted: unpack it and give the folder")
        if member.file_size > _MOST_BYTES_EACH:
            raise InputRefused(
                f"{name} holds {member.filename!r} of {member.file_size >> 20} MiB unpacked, "
                f"more than {_MOST_BYTES_EACH >> 20}"
            )
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    too_dense = unpacked > _HARMLESS_BYTES and unpacked > _MOST_RATIO * packed
    if unpacked > _MOST_BYTES or too_dense:
        raise InputRefused(
            f"{name} would unpack from {packed} to {unpacked} bytes, which no scan does: "
            "if it is yours, unpack it and give the folder"
        )


def _zip_entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Entry:
    def open_member() -> BinaryIO:
        # Whatever the archive declares, no more than that is unpacked.
        with archive.open(member) as stream:
            content = stream.read(member.file_size + 1)
        if len(content) != member.file_size:
            raise InputRefused(f"{name}: {member.filename!r} is not of the size it declares")
        return io.BytesIO(content)

    return Entry(member.filename, open_member)
