"""Write gzip with ISA-L, which is twenty times as fast as zlib for the same size of a scan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from isal import isal_zlib

# Noise does not compress: beyond level 1, a PET scan gets no smaller.
_LEVEL = 1
_AS_GZIP = 16 + isal_zlib.MAX_WBITS  # with the header and checksum of RFC 1952


def write_gzip(file: BinaryIO, pieces: Iterable[bytes]) -> None:
    """Write `pieces`, joined, as one gzip member. It has no name and time: it is reproducible."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _AS_GZIP)
    for piece in pieces:
        file.write(packer.compress(piece))
    file.write(packer.flush())
