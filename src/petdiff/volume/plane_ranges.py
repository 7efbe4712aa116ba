"""Process a large volume in ranges of axial planes on all usable cores, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.cgroup import usable_cores
from petdiff.volume.spans import Span, with_halo

T = TypeVar("T")
_THICKNESS = 40  # planes: few enough for the CPU cache, enough that the halo costs little


def plane_ranges(planes: int, halo: int = 0) -> Iterator[Span]:
    """Yield ranges of 40 planes or more, each with `halo` planes of its neighbours.

    A filter whose reach is at most the halo gives the same inner planes as on the whole volume. A
    range has no halo beyond the ends of the volume.
    """
    count = max(planes // _THICKNESS, 1)
    edges = [planes * n // count for n in range(count + 1)]
    for start, stop in pairwise(edges):
        yield with_halo(slice(start, stop), halo, planes)


def map_plane_ranges(work: Callable[[Span], T], planes: int, halo: int = 0) -> list[T]:
    """Return the results of `work` on each range of planes, in order; one thread per usable core.

    numpy and scipy release Python's lock, so the threads run in parallel.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(work, plane_ranges(planes, halo)))


def smoothed(volume: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """Return the volume smoothed by scipy's Gaussian filter; the edge voxel is repeated outside.

    `sigma` is the standard deviation along each axis, in voxels.
    """
    result = np.empty_like(volume)

    def work(part: Span) -> None:
        filtered = gaussian_filter(volume[..., part.read], sigma, mode="nearest")
        result[..., part.core] = filtered[..., part.inner]

    map_plane_ranges(work, volume.shape[2], halo=int(4 * sigma[2] + 0.5))  # scipy's truncation
    return result
