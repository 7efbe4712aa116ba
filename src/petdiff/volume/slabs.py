"""Large volumes, slab by slab on every core: the same numbers as in one go, sooner."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_THICKNESS = 40  # planes: small enough for the caches, thick enough that the halo costs little


@dataclass(frozen=True)
class Slab:
    """Planes along the last axis.

    read   the slab with its halo, cut off at the volume's ends
    inner  the slab itself within what was read
    write  the slab itself within the volume
    """

    read: slice
    inner: slice
    write: slice


def slabs(planes: int, halo: int = 0) -> Iterator[Slab]:
    """Cut `planes` into slabs of 40 or more, each read with `halo` planes of its neighbours.

    A filter that reaches no further than the halo gives the inner planes as it would in the whole
    volume, ends included: there the slab ends where the volume does.
    """
    count = max(planes // _THICKNESS, 1)
    edges = [planes * n // count for n in range(count + 1)]
    for start, stop in pairwise(edges):
        first, last = max(start - halo, 0), min(stop + halo, planes)
        yield Slab(slice(first, last), slice(start - first, stop - first), slice(start, stop))


def over_slabs(work: Callable[[Slab], T], planes: int, halo: int = 0) -> list[T]:
    """Do the work of each slab, on as many threads as there are cores (numpy and scipy let go of
    Python's lock); results in order."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(work, slabs(planes, halo)))


def smoothed(volume: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """scipy's Gaussian filter of σ in voxels along each axis, going on at the ends as it ends."""
    from scipy.ndimage import gaussian_filter

    result = np.empty_like(volume)

    def work(slab: Slab) -> None:
        filtered = gaussian_filter(volume[..., slab.read], sigma, mode="nearest")
        result[..., slab.write] = filtered[..., slab.inner]

    over_slabs(work, volume.shape[2], halo=int(4 * sigma[2] + 0.5))  # where scipy cuts it off
    return result
