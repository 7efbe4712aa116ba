"""Damaged copies of a file: what copies that broke off, odd programs and bad disks leave behind.

The same generator gives the same mutants, so that a failure can be repeated by its number.
"""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable, Iterator

# How many mutants of each kind of file a test reads: raise it for a long search.
MUTANTS = int(os.environ.get("PETDIFF_MUTANTS", "40"))

_NUMBERS = (
    0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1,
    2**40, 2**63 - 1,
)  # fmt: skip
_FLOATS = (0.0, -0.0, 1e-40, 1e-12, 1e30, 3e38, -1.0, float("inf"), float("-inf"), float("nan"))
_WORDS = (
    b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"99999999999999999999", b"null", b"true", b"[]",
    b"{}", b'""', b'"\xc3\xa9"', b"[[[[[[[[1]]]]]]]]", b"\x00", b"\xff\xfe", b"\x1b[31m",
    b"1" * 5000,
)  # fmt: skip
_WORD = re.compile(rb'"[^"]*"|-?[0-9.]+(?:e-?[0-9]+)?|[A-Za-z_]+')


def mutants(content: bytes, seed: int, count: int = MUTANTS) -> Iterator[bytes]:
    """Yield damaged copies: bytes flipped, numbers set to extremes, parts cut, moved, repeated."""
    for n in range(count):
        rng = random.Random(f"{seed}/{n}")
        damaged = content
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            damaged = rng.choice(_BINARY)(damaged, rng)
        yield damaged


def text_mutants(content: bytes, seed: int, count: int = MUTANTS) -> Iterator[bytes]:
    """Yield damaged copies of a text: words exchanged and replaced, besides what `mutants` does."""
    for n in range(count):
        rng = random.Random(f"{seed}/{n}")
        damaged = content
        for _ in range(rng.choice((1, 1, 2, 4))):
            damaged = rng.choice((_replace_word, _replace_word, *_BINARY))(damaged, rng)
        yield damaged


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    at = _place(content, rng)
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def _set_number(content: bytes, rng: random.Random) -> bytes:
    kind = rng.choice("bhiqfd")
    order = rng.choice("<>")
    if kind in "fd":
        number = struct.pack(order + kind, rng.choice(_FLOATS))
    else:
        size = struct.calcsize(kind)
        whole = rng.choice(_NUMBERS) % (1 << (8 * size))
        number = whole.to_bytes(size, "little" if order == "<" else "big")
    at = _place(content, rng) // len(number) * len(number)
    return content[:at] + number + content[at + len(number) :]


def _cut_end(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 16, 100)) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.choice((1, 4, 16, 100))
    return (
        content[:at] + content[at : at + length] * rng.choice((2, 3, 50)) + content[at + length :]
    )


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.randbytes(rng.choice((1, 4, 64))) + content[at:]


def _blank(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.choice((4, 16, 200))
    return content[:at] + bytes([rng.choice((0, 255))]) * length + content[at + length :]


def _replace_word(content: bytes, rng: random.Random) -> bytes:
    words = list(_WORD.finditer(content))
    if not words:
        return content
    word = rng.choice(words)
    new = rng.choice((*_WORDS, rng.choice(words)[0], b"[" * 100_000))
    return content[: word.start()] + new + content[word.end() :]


def _place(content: bytes, rng: random.Random) -> int:
    """A place anywhere, half of the time among the first bytes, where headers are."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 600)
    return rng.randrange(max(end, 1))


_BINARY: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _set_number, _set_number, _set_number, _cut_end, _cut_out, _repeat, _insert,
    _blank,
)  # fmt: skip
