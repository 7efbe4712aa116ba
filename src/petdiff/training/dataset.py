"""Training patches: cut from slabs, in the domain of the method, deterministic per worker."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from petdiff.methods.local_activity import LocalActivity, local_activity
from petdiff.training.slabs import Slab, make_slab

PATCH = (64, 64, 48)
POOL = 48  # slabs kept at hand, so that a batch mixes bodies and scanners
PATCHES_PER_SLAB = 60  # taken, on average, before a slab makes room for a new one
HOT_SHARE = 0.3  # of the patches are centred on voxels chosen by their activity


@dataclass(frozen=True)
class _Pair:
    """A slab's low-dose scan, its activity over its mean, and its full-dose scan as r [i, j, k]."""

    low: LocalActivity
    activity: Tensor
    r: Tensor


class SlabPatches(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """An endless stream of (r, fields, activity) patches: [1, *PATCH], [4, *PATCH], [1, *PATCH].

    seed   names the supply; worker w of n makes the slabs w, w + n, w + 2n … after `start`
    make   (seed, index) → Slab
    """

    def __init__(
        self, seed: int, start: int = 0, make: Callable[[int, int], Slab] = make_slab
    ) -> None:
        self.seed, self.start, self.make = seed, start, make

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        worker = get_worker_info()
        index, stride = (
            (self.start, 1)
            if worker is None
            else (
                self.start + worker.id,
                worker.num_workers,
            )
        )
        rng = np.random.default_rng([self.seed, index, 1])
        choose = random.Random(index)
        pool: list[list[_Pair]] = []
        while True:
            pairs = [
                _pair(low, slab.full) for slab in [self.make(self.seed, index)] for low in slab.lows
            ]
            index += stride
            if len(pool) == POOL:
                pool.pop(choose.randrange(POOL))
            pool.append(pairs)
            for _ in range(PATCHES_PER_SLAB):
                yield _patch(rng, choose.choice(choose.choice(pool)))


def _pair(low: np.ndarray, full: np.ndarray) -> _Pair:
    domain = local_activity(torch.from_numpy(low))
    s = domain.activity
    return _Pair(domain, s / s.mean(), torch.from_numpy(full) / s - 1)


def _patch(rng: np.random.Generator, pair: _Pair) -> tuple[Tensor, Tensor, Tensor]:
    """A random cut, flipped and turned, all tensors alike."""
    stack = torch.cat([pair.r[None], pair.low.fields, pair.activity[None]])
    cut = stack[(slice(None), *_where(rng, pair.activity))]
    flips = [axis + 1 for axis in range(3) if rng.random() < 0.5]
    cut = cut.flip(flips) if flips else cut
    if rng.random() < 0.5:
        cut = cut.transpose(1, 2)
    return cut[:1].contiguous(), cut[1:-1].contiguous(), cut[-1:].contiguous()


def _where(rng: np.random.Generator, activity: Tensor) -> tuple[slice, slice, slice]:
    """Slices of a patch around a voxel of the body, or of a hot place."""
    shape = np.array(activity.shape)
    tries = rng.integers(0, shape, size=(256, 3))
    chance = activity[tuple(torch.from_numpy(tries.T))].numpy().astype(np.float64)
    if rng.random() >= HOT_SHARE:
        chance = (chance > 0.1).astype(np.float64)
    total = chance.sum()
    centre = tries[rng.choice(len(tries), p=chance / total)] if total > 0 else shape // 2
    low = np.clip(centre - np.array(PATCH) // 2, 0, shape - np.array(PATCH))
    i, j, k = (slice(int(a), int(a) + n) for a, n in zip(low, PATCH, strict=True))
    return i, j, k
