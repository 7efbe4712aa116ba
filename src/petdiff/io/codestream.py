"""Read the size of a compressed image from its own header, before a decoder allocates it.

JPEG, JPEG-LS (ITU-T T.81 B.2.2, T.87 C.2.2) and JPEG 2000 (T.800 A.5.1).
"""

from __future__ import annotations

_JPEG_2000 = b"\xff\x4f\xff\x51"  # start of codestream, size
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF,
                     0xF7})  # fmt: skip


def codestream_size(picture: bytes) -> tuple[int, int] | None:
    """Return a compressed picture's (rows, columns); None for another format (RLE)."""
    if picture[:2] == b"\xff\xd8":
        return _jpeg_size(picture)
    start = picture[:256].find(_JPEG_2000)  # after boxes in a JP2 file
    if start < 0:
        return None
    right, bottom, left, top = (
        int.from_bytes(picture[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    return bottom - top, right - left


def _jpeg_size(picture: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(picture) and picture[position] == 0xFF:
        marker = picture[position + 1]
        if marker in _FRAMES:
            rows, columns = (
                int.from_bytes(picture[position + at : position + at + 2], "big") for at in (5, 7)
            )
            return rows, columns
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        position += 2 + int.from_bytes(picture[position + 2 : position + 4], "big")
    return None
