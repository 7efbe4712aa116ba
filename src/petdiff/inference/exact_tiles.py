"""A method as a denoiser of whole volumes: tile by tile, within the memory there is."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from petdiff.device import GIB, is_out_of_memory, memory_budget
from petdiff.errors import PetdiffError
from petdiff.inference.record import VolumeCut
from petdiff.methods.base import Condition, ExactTileMethod
from petdiff.volume.chunks import Shape, halve, largest_read, tiles

_log = logging.getLogger(__name__)

# Peak bytes of the default network per voxel of a tile and byte of its arithmetic: resident memory
# grew by 40 to 57 over tiles of 2 to 5 million voxels in bfloat16 and float32.
BYTES_PER_VOXEL = 60


class TiledDenoiser:
    """denoiser(x, sigma) → x0 over a volume [i, j, k] in the method's domain.

    method    its network on the scan's device, in `dtype`
    condition the whole scan in that domain, its fields in the network's dtype
    inside    bool [i, j, k]: tiles without body are not asked, and air is given x0 = 0
    tile      voxels a side of a tile's core; None: as large as the memory budget allows
    callback  called with (tiles done, tiles in all) over `calls` calls

    At σ = ∞, where x is not looked at, the network is asked once for all samples.
    """

    def __init__(
        self,
        method: ExactTileMethod,
        condition: Condition,
        inside: Tensor,
        dtype: torch.dtype,
        tile: int | None,
        callback: Callable[[int, int], None] | None,
        calls: int,
    ) -> None:
        self.method = method
        self.condition, self.inside, self.dtype = condition, inside, dtype
        self.callback, self.calls, self.done = callback, calls, 0
        self._mean: Tensor | None = None
        i, j, k = inside.shape
        self.shape: Shape = (i, j, k)
        self.core = self.shape if tile is None else (tile, tile, tile)
        if tile is None:
            self._fit()

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not sigma.isinf() or self.calls == 1:
            return self._within_memory(x, sigma)
        if self._mean is None:
            self._mean = self._within_memory(x, sigma)
        return self._mean

    def _within_memory(self, x: Tensor, sigma: Tensor) -> Tensor:
        while True:
            try:
                return self._ask(x, sigma)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = halve(self.core, self.method.multiple)
                if smaller is None:
                    raise PetdiffError(
                        f"out of memory on {x.device} with the smallest tile; use another `device`"
                    ) from error
                self.core = smaller
            if x.device.type == "cuda":
                torch.cuda.empty_cache()
            _log.warning("out of memory: tile halved to %s", _times(smaller))

    def describe(self) -> VolumeCut:
        """Return how the volume is cut, and the memory that a tile is expected to take."""
        return VolumeCut(
            tile=self.core,
            halo=self.method.halo,
            predicted_tile_gib=round(self._predicted_bytes(self.core) / GIB, 3),
        )

    def _ask(self, x: Tensor, sigma: Tensor) -> Tensor:
        answer: Tensor | None = None
        level = sigma.to(x.device, torch.float32).reshape(1)
        cut = list(tiles(self.shape, self.core, self.method.halo, self.method.multiple))
        for n, tile in enumerate(cut):
            if self.inside[tile.core].any():
                seen = (
                    x[tile.read][None, None],
                    level,
                    self.condition.fields[(slice(None), *tile.read)][None],
                )
                part = self.method.denoise(*seen)[0]
                if answer is None:
                    answer = torch.zeros((len(part), *self.shape), device=x.device)
                answer[(slice(None), *tile.core)] = part[(slice(None), *tile.inner)]
            if self.callback is not None:
                self.callback(self.done * len(cut) + n + 1, self.calls * len(cut))
        self.done += 1
        if answer is None:  # nothing but air
            return torch.zeros(self.shape, device=x.device)
        return self.condition.keep_activity(answer.mul_(self.inside))

    def _fit(self) -> None:
        budget = memory_budget(self.inside.device)
        while self._predicted_bytes(self.core) > budget:
            smaller = halve(self.core, self.method.multiple)
            if smaller is None:
                return
            self.core = smaller

    def _predicted_bytes(self, core: Shape) -> int:
        read = largest_read(self.shape, core, self.method.halo, self.method.multiple)
        return read * BYTES_PER_VOXEL * self.dtype.itemsize


def _times(shape: Shape) -> str:
    return " × ".join(map(str, shape))
