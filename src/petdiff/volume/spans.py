"""A part of an axis with its halo: the neighbours that a filter or a network must read as well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A part of an axis.

    core   what is written
    read   the core with its halo, cut at the axis' ends
    inner  the core within `read`
    """

    core: slice
    read: slice
    inner: slice


def with_halo(core: slice, halo: int, length: int) -> Span:
    """Return a part of an axis of `length` voxels with `halo` voxels on both sides."""
    first, last = max(core.start - halo, 0), min(core.stop + halo, length)
    return Span(core, slice(first, last), slice(core.start - first, core.stop - first))
