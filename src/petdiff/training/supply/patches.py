"""Training patches: patch p is the same for the same seed, in whatever process it is cut, and when.

Slabs, short scans in low- and full-dose pairs, are numbered without end. Patch p is cut from one
of the `pool` slabs that end at number p // per_slab, which its own random numbers choose; so the
supply needs no state, and a run resumes at any patch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petdiff.data.array_store import Entry, Store
from petdiff.errors import PetdiffError
from petdiff.volume.filters import gaussian_smooth

Volume = NDArray[np.float32]
Patch = tuple[int, int, int]

_BODY = 0.1  # of a scan's mean activity: above it lies the body
_COARSE = 4  # voxels a side of the cells that patches are centred on
_SMOOTHING = 2.0  # standard deviation in voxels of the Gaussian that averages noise in a cell


class Pairs(Protocol):
    """A full-dose scan and low-dose scans of it on one grid [i, j, k].

    lows  by dose reduction factor, UNSTATED where it is not known
    """

    @property
    def full(self) -> Volume: ...

    @property
    def lows(self) -> Mapping[float, Volume]: ...


@dataclass(frozen=True)
class SlabMaker:
    """Makes numbered slabs into a store, each as examples in the method's own domain.

    draw     index → Pairs
    example  (low, full) [i, j, k] and the dose reduction factor → [c, i, j, k], what the method's
             loss needs
    patch    the least that a slab must measure; thinner ones are mirrored at their far faces
    """

    store: Store
    draw: Callable[[int], Pairs]
    example: Callable[[Tensor, Tensor, float | None], Tensor]
    patch: Patch

    def make(self, index: int) -> None:
        """Draw slab `index` and store it; PetdiffError where it holds NaN or infinite values."""
        pairs = self.draw(index)
        full = self._large_enough(pairs.full)
        lows = {dose: self._large_enough(low) for dose, low in pairs.lows.items()}
        examples = np.stack(
            [self.example(low, full, dose or None).float().numpy() for dose, low in lows.items()]
        )
        if not np.isfinite(examples).all():
            raise PetdiffError(f"slab {index} of the training supply holds NaN or infinite values")
        uptake = np.stack([coarse_uptake(low) for low in lows.values()])
        self.store.put(slab_name(index), {"examples": examples, "uptake": uptake}, {})

    def _large_enough(self, volume: Volume) -> Tensor:
        missing = [max(0, n - m) for n, m in zip(self.patch, volume.shape, strict=True)]
        padded = np.pad(volume, [(0, n) for n in missing], mode="symmetric")
        return torch.from_numpy(np.ascontiguousarray(padded, dtype=np.float32))


@dataclass(frozen=True)
class Patches:
    """Cuts patches from stored slabs.

    entry      slab index → its entry; may wait for it to be made
    pool       slabs that a patch may come from
    per_slab   patches taken, on average, before a slab makes room for a new one
    hot_share  of the patches are centred on voxels chosen by their activity
    """

    entry: Callable[[int], Entry]
    seed: int
    patch: Patch
    pool: int
    per_slab: int
    hot_share: float

    def window(self, p: int) -> range:
        """Numbers of the slabs that patch p may be cut from."""
        return slab_window(p, self.pool, self.per_slab)

    def cut(self, p: int) -> Tensor:
        """Patch p [c, *patch]: a place, a dose, flips and a turn that depend on (seed, p) alone."""
        rng = np.random.default_rng([self.seed, 1, p])
        window = self.window(p)
        entry = self.entry(int(rng.integers(window.start, window.stop)))
        examples = entry.arrays["examples"]
        low = int(rng.integers(len(examples)))
        where = self._where(rng, entry.arrays["uptake"][low], examples.shape[2:])
        cut = torch.from_numpy(np.array(examples[low][(slice(None), *where)]))
        flips = [axis + 1 for axis in range(3) if rng.random() < 0.5]
        cut = cut.flip(flips) if flips else cut
        if rng.random() < 0.5 and self.patch[0] == self.patch[1]:
            cut = cut.transpose(1, 2)
        return cut.contiguous()

    def _where(
        self, rng: np.random.Generator, uptake: Volume, shape: tuple[int, ...]
    ) -> tuple[slice, ...]:
        """Slices of a patch around a voxel of the body, or of a hot place."""
        hot = rng.random() < self.hot_share
        chance = uptake.astype(np.float64) if hot else (uptake > _BODY).astype(np.float64)
        flat = chance.ravel() if chance.any() else np.ones(chance.size)
        cell = np.unravel_index(rng.choice(flat.size, p=flat / flat.sum()), uptake.shape)
        centre = np.array(cell) * _COARSE + rng.integers(0, _COARSE, 3)
        first = np.clip(centre - np.array(self.patch) // 2, 0, np.array(shape) - self.patch)
        return tuple(slice(int(a), int(a) + n) for a, n in zip(first, self.patch, strict=True))


def slab_window(p: int, pool: int, per_slab: int) -> range:
    """Numbers of the `pool` slabs that patch p may be cut from; fewer at the start."""
    last = p // per_slab
    return range(max(0, last - pool + 1), last + 1)


def coarse_uptake(low: Tensor) -> Volume:
    """Activity of a scan [i, j, k], smoothed, over its mean, at every fourth voxel."""
    smooth = gaussian_smooth(low.clamp(min=0), _SMOOTHING)
    mean = smooth.mean().clamp(min=torch.finfo(smooth.dtype).tiny)
    uptake: Volume = np.ascontiguousarray((smooth / mean)[(slice(None, None, _COARSE),) * 3])
    return uptake


def slab_name(index: int) -> str:
    """Of its entry in the store."""
    return f"slab-{index:08d}"


def without_networks(method: Any) -> Any:
    """A copy of the method that is cheap to send to other processes: its settings alone."""
    import copy

    bare = copy.copy(method)
    for name, value in vars(bare).items():
        if isinstance(value, torch.nn.Module):
            setattr(bare, name, None)
    return bare
