"""Tiles: run a network over a whole volume, one part at a time.

A network without spatial statistics computes a voxel from the inputs within its radius. A tile that
reads a halo of that width around its core gives the same values in the core as the whole volume.
Tiles are cut at the volume's faces, not padded. They start at multiples of the network's stride, so
that every convolution sees the same faces and the same grid however the volume is divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from petdiff.volume.spans import Span, with_halo

Box = tuple[slice, slice, slice]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """One tile. read: what the network sees; core: what is written; inner: the core within read."""

    read: Box
    core: Box
    inner: Box


def tiles(shape: Shape, core: Shape, halo: int, multiple: int) -> Iterator[Tile]:
    """Divide a volume into cores of at most `core` voxels, each with its halo.

    shape  of the volume; every axis a multiple of `multiple`
    core   largest core; rounded down to multiples, at least one multiple
    halo   voxels, a multiple of `multiple`, at least the network's radius
    """
    if any(n % multiple for n in shape) or halo % multiple:
        raise ValueError(f"shape {shape} and halo {halo} must be multiples of {multiple}")
    for i, j, k in product(
        *(_spans(n, c, halo, multiple) for n, c in zip(shape, core, strict=True))
    ):
        yield Tile((i.read, j.read, k.read), (i.core, j.core, k.core), (i.inner, j.inner, k.inner))


def largest_read(shape: Shape, core: Shape, halo: int, multiple: int) -> int:
    """Return the number of voxels of the largest tile, halo included."""
    i, j, k = (
        max(int(span.read.stop - span.read.start) for span in _spans(n, c, halo, multiple))
        for n, c in zip(shape, core, strict=True)
    )
    return i * j * k


def halve(core: Shape, multiple: int) -> Shape | None:
    """Return the core with its longest axis halved; None if it cannot get smaller."""
    longest = max(range(3), key=lambda axis: core[axis])
    if core[longest] <= multiple:
        return None
    half = -(-core[longest] // (2 * multiple)) * multiple
    i, j, k = (half if axis == longest else n for axis, n in enumerate(core))
    return i, j, k


def _spans(n: int, core: int, halo: int, multiple: int) -> list[Span]:
    step = max(multiple, min(core, n) // multiple * multiple)
    return [with_halo(slice(start, min(start + step, n)), halo, n) for start in range(0, n, step)]
