"""Read zip files, and zips within zips, without writing to the disk.

Archives with paths outside themselves and archives that would unpack to too many bytes (zip bombs)
are refused before they are unpacked.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import BinaryIO, cast

from petdiff.errors import InputRefused, PetdiffError
from petdiff.io.entries import Bounded, Entry, is_of_macos
from petdiff.terminal import one_line

_MAX_ENTRIES = 50_000  # a dynamic total-body study has some 30,000 files
_MAX_BYTES = 8 << 30
_MAX_BYTES_EACH = 1 << 30
_MAX_DEPTH = 3  # a platform's download is a zip of zips
# Compression ratios: Deflate reaches 1000, PET scans 2 to 20. Small archives are accepted at any
# ratio, because a scan with much air may have a high one.
_MAX_RATIO = 200
_MAX_RATIO_EACH = 50
_HARMLESS_BYTES = 64 << 20
_HARMLESS_BYTES_NESTED = 256 << 20  # held in memory while the archive is open

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_METHODS |= {getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED)}  # Python 3.14
_METHOD_NAMES = {6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}
_WITHOUT_LIMIT = {zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}  # their decompressors have no output limit
_MAX_NAME_CHARACTERS = 300  # in messages; a zip may have names of 65,535 bytes
_UNPACK = "if it is yours, unpack it and give the folder"
_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_SIGNATURE = b"PK\x03\x04"


@contextmanager
def zip_entries(file: Entry, prefix: str = "") -> Iterator[list[Entry]]:
    """Yield the files within a zip, and within zips in it, in the order of their names.

    They can be opened within the block. `prefix` is put before their names. Raises InputRefused
    that names the archive.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(file.open())
        yield list(_entries(stream, file.name, prefix, 0, _Limits(file.size), stack))


def is_zip(file: Entry) -> bool:
    """Return whether a file begins or ends like a zip. It may still be damaged."""
    with file.open() as stream:
        return stream.read(4) == _SIGNATURE or zipfile.is_zipfile(stream)


def check_archive(archive: zipfile.ZipFile, name: str) -> None:
    """Raise InputRefused for an archive with paths outside itself or with too many bytes."""
    members = archive.infolist()
    _Limits(sum(member.compress_size for member in members)).add(members, name)
    for member in members:
        _require_harmless(member, name)


@dataclass
class _Limits:
    """Sums the declared sizes of the members of a file, including nested zips."""

    on_disk: int
    entries: int = 0
    unpacked: int = 0
    nested: int = 0

    def add(self, members: list[zipfile.ZipInfo], name: str) -> None:
        """Count an archive's members; raises InputRefused above a limit."""
        self.entries += len(members)
        self.unpacked += sum(member.file_size for member in members)
        if self.entries > _MAX_ENTRIES:
            raise InputRefused(f"{name} holds {self.entries} entries, more than {_MAX_ENTRIES}")
        too_dense = self.unpacked > max(_HARMLESS_BYTES, _MAX_RATIO * self.on_disk)
        if self.unpacked > _MAX_BYTES or too_dense:
            raise InputRefused(
                f"{name} would unpack from {self.on_disk} to {self.unpacked} bytes, which no scan "
                f"does: {_UNPACK}"
            )

    def add_nested(self, size: int, name: str) -> None:
        """Count a nested zip that is unpacked to memory; raises InputRefused above a limit."""
        self.nested += size
        if self.nested > max(_HARMLESS_BYTES_NESTED, 2 * self.on_disk):
            raise InputRefused(f"{name}: its zips take {self.nested} bytes unpacked: unpack it")


def _entries(
    file: BinaryIO, name: str, prefix: str, depth: int, limits: _Limits, stack: ExitStack
) -> Iterator[Entry]:
    """Yield the files of one archive called `name`, and of the zips in it, below `prefix`."""
    with _refusing_damage(name):
        archive = stack.enter_context(zipfile.ZipFile(file))
        members = archive.infolist()
        _require_start(file, members)
    limits.add(members, name)
    for member in members:
        _require_harmless(member, name)
        if member.file_size > max(_HARMLESS_BYTES, _MAX_RATIO_EACH * member.compress_size):
            raise InputRefused(
                f"{name} would unpack {_name(member)!r} from {member.compress_size} "
                f"to {member.file_size} bytes, which no scan does: {_UNPACK}"
            )
    for member in sorted(members, key=lambda member: member.filename):
        inside = _name(member)
        if not inside or member.is_dir() or is_of_macos(PurePosixPath(inside)):
            continue
        if not inside.lower().endswith(".zip"):
            yield _entry(archive, member, name, prefix + inside)
        elif depth == _MAX_DEPTH:
            raise InputRefused(f"{name} holds {inside!r}, a zip too deep: unpack it")
        else:
            within = _nested(file, archive, member, name, limits)
            label = f"{name}/{inside}"
            yield from _entries(within, label, f"{prefix}{inside}/", depth + 1, limits, stack)


def _require_start(file: BinaryIO, members: list[zipfile.ZipInfo]) -> None:
    """Raise BadZipFile for a truncated zip, whose last directory is that of a nested zip."""
    file.seek(0)
    if members and file.read(4) == _SIGNATURE and min(m.header_offset for m in members) > 0:
        raise zipfile.BadZipFile("it is truncated")


def _require_harmless(member: zipfile.ZipInfo, name: str) -> None:
    inside = PureWindowsPath(member.filename)  # accepts both slashes and drive letters
    shown = _name(member)
    if inside.drive or inside.root or ".." in inside.parts:
        raise InputRefused(f"{name} holds {shown!r}, a path that leads out of it")
    if member.flag_bits & 0x1:
        raise InputRefused(f"{name} is encrypted: unpack it and give the folder")
    if member.compress_type not in _METHODS:
        method = _METHOD_NAMES.get(member.compress_type, f"method {member.compress_type}")
        raise InputRefused(
            f"{name} is packed by {method} ({shown!r}), which Python cannot unpack: unpack it, "
            "with 7-Zip for example, and give the folder"
        )
    if member.file_size > _MAX_BYTES_EACH:
        raise InputRefused(
            f"{name} holds {shown!r} of {member.file_size >> 20} MiB unpacked, more than "
            f"{_MAX_BYTES_EACH >> 20}"
        )


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, label: str) -> Entry:
    def opened() -> BinaryIO:
        with _refusing_damage(f"{name}: {_name(member)!r}"):
            return io.BytesIO(_content(archive, member))

    return Entry(label, member.file_size, opened)


def _nested(
    file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, limits: _Limits
) -> BinaryIO:
    """Return a nested zip: a window on the outer one if it is stored, else unpacked in memory."""
    label = f"{name}: {_name(member)!r}"
    with _refusing_damage(label):
        if member.compress_type == zipfile.ZIP_STORED:
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER)
            start = member.header_offset + _LOCAL_HEADER
            start += int.from_bytes(header[26:28], "little")  # name
            start += int.from_bytes(header[28:30], "little")  # extra field
            return cast(BinaryIO, Bounded(file, member.file_size, start))
        limits.add_nested(member.file_size, name)
        return io.BytesIO(_content(archive, member))


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member's bytes, at most as many as the archive declares."""
    chunk = 4096 if member.compress_type in _WITHOUT_LIMIT else 1 << 20
    with archive.open(member) as stream:
        parts = list(iter(lambda: stream.read(chunk), b""))
    content = b"".join(parts)
    if len(content) != member.file_size:
        raise zipfile.BadZipFile(f"it has {len(content)} bytes and declares {member.file_size}")
    return content


def _name(member: zipfile.ZipInfo) -> str:
    """Return a member's name for messages. Many programs write UTF-8 without its flag."""
    name = member.filename
    if not member.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    name = one_line(name)
    return name if len(name) <= _MAX_NAME_CHARACTERS else "…" + name[-_MAX_NAME_CHARACTERS:]


@contextmanager
def _refusing_damage(what: str) -> Iterator[None]:
    """Raise InputRefused for all exceptions of zipfile on a damaged archive."""
    try:
        yield
    except PetdiffError:
        raise
    except Exception as problem:  # also MemoryError: LZMA allocates the size in a damaged header
        reason = one_line(problem)[:200] or type(problem).__name__
        raise InputRefused(
            f"{what} is not a valid zip ({reason}): get it again, or unpack it and give the folder"
        ) from problem
