"""Make examples, the input of a method's losses, from numbered volumes, and store them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from petdiff.data.array_store import Store
from petdiff.errors import PetdiffError
from petdiff.training.supply.paired_volumes import Volume, VolumeSource
from petdiff.volume.filters import gaussian_smooth

CELL = 4  # voxels per side of the cells of a coarse uptake map
_SMOOTHING = 2.0  # standard deviation in voxels of the Gaussian that averages noise in a cell

Method = TypeVar("Method")


@dataclass(frozen=True)
class ExampleMaker:
    """Makes the examples of a volume and stores them under the volume's number.

    source   returns the volumes of a number
    example  function of the method: low and full [i, j, k], dose reduction factor → [c, i, j, k]
    patch    minimum size of an example; smaller volumes are padded by mirroring
    """

    store: Store
    source: VolumeSource
    example: Callable[[Tensor, Tensor, float | None], Tensor]
    patch: tuple[int, int, int]

    def make(self, number: int) -> None:
        """Store the entry of a volume: `examples` [dose, c, i, j, k] and their coarse `uptake`.

        Raises PetdiffError where an example holds NaN or infinite values.
        """
        volumes = self.source(number)
        full = self._padded(volumes.full)
        lows = {drf: self._padded(low) for drf, low in volumes.lows.items()}
        examples = np.stack(
            [self.example(low, full, drf).float().numpy() for drf, low in lows.items()]
        )
        if not np.isfinite(examples).all():
            raise PetdiffError(f"training volume {number} holds NaN or infinite values")
        uptake = np.stack([coarse_uptake(low) for low in lows.values()])
        self.store.put(entry_name(number), {"examples": examples, "uptake": uptake}, {})

    def _padded(self, volume: Volume) -> Tensor:
        missing = [max(0, n - m) for n, m in zip(self.patch, volume.shape, strict=True)]
        padded = np.pad(volume, [(0, n) for n in missing], mode="symmetric")
        return torch.from_numpy(np.ascontiguousarray(padded, dtype=np.float32))


def coarse_uptake(low: Tensor) -> Volume:
    """Return the smoothed activity of a volume [i, j, k] over its mean, at every fourth voxel."""
    smooth = gaussian_smooth(low.clamp(min=0), _SMOOTHING)
    mean = smooth.mean().clamp(min=torch.finfo(smooth.dtype).tiny)
    uptake: Volume = np.ascontiguousarray((smooth / mean)[(slice(None, None, CELL),) * 3])
    return uptake


def entry_name(number: int) -> str:
    """Return the name in the store of a volume's examples."""
    return f"volume-{number:08d}"


def is_entry_before(name: str, number: int) -> bool:
    """Return whether a name in the store is that of a volume with a lower number."""
    return name.startswith("volume-") and name < entry_name(number)


def without_networks(method: Method) -> Method:
    """Return a copy of a method without its networks, which is small to send to processes."""
    copied = copy.copy(method)
    for name, value in vars(copied).items():
        if isinstance(value, nn.Module):
            setattr(copied, name, None)
    return copied
