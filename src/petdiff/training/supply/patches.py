"""Cut training patches from stored examples. Patch p is the same in every process and run.

Volumes are numbered without limit. Patch p is cut from one of the `pool` volumes that end at number
p // per_volume. The volume and the position depend on random numbers of (seed, p) only, so that a
run can resume at any patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from petdiff.data.array_store import Entry
from petdiff.training.supply.examples import CELL
from petdiff.training.supply.paired_volumes import Volume

Patch = tuple[int, int, int]

_BODY = 0.1  # the body has activity above this share of the volume's mean


@dataclass(frozen=True)
class PatchCutter:
    """Cuts numbered patches.

    entry       returns the stored examples of a volume number; may wait for them
    seed        of all random choices
    patch       voxels along i, j, k
    pool        number of volumes from which a patch may be cut
    per_volume  average number of patches until a volume is replaced by a new one
    hot_share   share of the patches that are centred on voxels chosen by their activity
    """

    entry: Callable[[int], Entry]
    seed: int
    patch: Patch
    pool: int
    per_volume: int
    hot_share: float

    def volume_numbers(self, p: int) -> range:
        """Return the numbers of the volumes that patch p may be cut from."""
        return volume_numbers(p, self.pool, self.per_volume)

    def cut(self, p: int) -> Tensor:
        """Return patch p [c, *patch]; its position, dose, flips and axes depend on (seed, p)."""
        rng = np.random.default_rng([self.seed, 1, p])
        numbers = self.volume_numbers(p)
        entry = self.entry(int(rng.integers(numbers.start, numbers.stop)))
        examples = entry.arrays["examples"]
        low = int(rng.integers(len(examples)))
        where = self._draw_position(rng, entry.arrays["uptake"][low], examples.shape[2:])
        cut = torch.from_numpy(np.array(examples[low][(slice(None), *where)]))
        flips = [axis + 1 for axis in range(3) if rng.random() < 0.5]
        cut = cut.flip(flips) if flips else cut
        if rng.random() < 0.5 and self.patch[0] == self.patch[1]:
            cut = cut.transpose(1, 2)
        return cut.contiguous()

    def _draw_position(
        self, rng: np.random.Generator, uptake: Volume, shape: tuple[int, ...]
    ) -> tuple[slice, ...]:
        """Draw the position of a patch: around a random voxel of the body, or a hot one."""
        hot = rng.random() < self.hot_share
        chance = uptake.astype(np.float64) if hot else (uptake > _BODY).astype(np.float64)
        flat = chance.ravel() if chance.any() else np.ones(chance.size)
        cell = np.unravel_index(rng.choice(flat.size, p=flat / flat.sum()), uptake.shape)
        centre = np.array(cell) * CELL + rng.integers(0, CELL, 3)
        first = np.clip(centre - np.array(self.patch) // 2, 0, np.array(shape) - self.patch)
        return tuple(slice(int(a), int(a) + n) for a, n in zip(first, self.patch, strict=True))


def volume_numbers(p: int, pool: int, per_volume: int) -> range:
    """Return the numbers of the `pool` volumes that patch p may be cut from; fewer at the start."""
    last = p // per_volume
    return range(max(0, last - pool + 1), last + 1)
