"""Tiles: how a whole volume is asked through a network that sees only a part of it at a time.

A network without spatial statistics answers a voxel from what lies within its radius. A tile that
reads that much halo around the core it writes gives there what the whole volume would have given.
Tiles are cut at the volume's faces, not padded, and start at multiples of the network's stride, so
that every convolution meets the same faces and the same grid whichever way the volume is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

Box = tuple[slice, slice, slice]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """read: what the network sees; core: what it writes; inner: the core's place within read."""

    read: Box
    core: Box
    inner: Box


def tiles(shape: Shape, core: Shape, halo: int, multiple: int) -> Iterator[Tile]:
    """Cut a volume into cores of at most `core` voxels, each with its halo.

    shape     of the volume; every axis a multiple of `multiple`
    core      largest core; rounded down to multiples, at least one multiple
    halo      voxels, a multiple of `multiple`, at least the network's radius
    """
    if any(n % multiple for n in shape) or halo % multiple:
        raise ValueError(f"shape {shape} and halo {halo} must be multiples of {multiple}")
    for spans in product(*(_spans(n, c, halo, multiple) for n, c in zip(shape, core, strict=True))):
        read, core_box, inner = zip(*spans, strict=True)
        yield Tile(read, core_box, inner)


def largest_read(shape: Shape, core: Shape, halo: int, multiple: int) -> int:
    """Voxels of the largest tile, its halo included."""
    i, j, k = (
        max(int(read.stop - read.start) for read, _, _ in _spans(n, c, halo, multiple))
        for n, c in zip(shape, core, strict=True)
    )
    return i * j * k


def halve(core: Shape, multiple: int) -> Shape | None:
    """The core with its longest axis halved; None where it cannot get smaller."""
    longest = max(range(3), key=lambda axis: core[axis])
    if core[longest] <= multiple:
        return None
    half = -(-core[longest] // (2 * multiple)) * multiple
    i, j, k = (half if axis == longest else n for axis, n in enumerate(core))
    return i, j, k


def _spans(n: int, core: int, halo: int, multiple: int) -> Sequence[tuple[slice, slice, slice]]:
    step = max(multiple, min(core, n) // multiple * multiple)
    spans = []
    for start in range(0, n, step):
        stop = min(start + step, n)
        first, last = max(0, start - halo), min(n, stop + halo)
        spans.append((slice(first, last), slice(start, stop), slice(start - first, stop - first)))
    return spans
