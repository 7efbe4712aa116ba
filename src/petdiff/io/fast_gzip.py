"""gzip by ISA-L, which packs a scan twenty times as fast as zlib does, into as many bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from isal import isal_zlib

# Noise does not compress: beyond level 1, a PET scan gets no smaller.
_LEVEL = 1
_AS_GZIP = 16 + isal_zlib.MAX_WBITS  # with the header and checksum of RFC 1952


def write_gzip(file: BinaryIO, pieces: Iterable[bytes]) -> None:
    """Write `pieces`, joined, as one gzip member without name or time: reproducible."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _AS_GZIP)
    for piece in pieces:
        file.write(packer.compress(piece))
    file.write(packer.flush())
