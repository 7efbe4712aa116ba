"""A DDPM as a denoiser of whole volumes, slab by slab along k, where slabs leave a trace.

For networks that take statistics of all they see: no halo makes their slabs exact, so neighbours
overlap and are blended. The network's own answer is blended, at every step; the published code
samples each slab to the end and blends the results, so that each draws other noise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from petdiff.errors import PetdiffError
from petdiff.methods.ddpm3d import DDPM3D


class SlabDenoiser:
    """denoiser(x, sigma) → x0 over a volume [i, j, k], with the variance of ancestral steps.

    fields    of the whole scan [1, i, j, k], in the network's dtype
    slab      voxels along k; None: as the network was trained
    callback  called with (slabs done, slabs in all) over `calls` calls
    """

    def __init__(
        self,
        method: DDPM3D,
        fields: Tensor,
        slab: int | None,
        callback: Callable[[int, int], None] | None,
        calls: int,
    ) -> None:
        self.method, self.fields = method, fields
        self.overlap = method.process.overlap
        self.slab = max(slab or method.process.slab, 2 * self.overlap)
        self.callback, self.calls, self.done = callback, calls, 0
        self.adapter = method.adapter(self._ask)
        method.network.to(fields.device, fields.dtype)

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.adapter(x[None, None], sigma)[0, 0]

    @torch.inference_mode()
    def with_variance(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """See VarianceDenoiser."""
        x0, variance = self.adapter.with_variance(x[None, None], sigma, sigma_next)
        return x0[0, 0], variance[0, 0]

    def describe(self) -> dict[str, Any]:
        """For the record."""
        i, j, k = self.fields.shape[1:]
        return {"tile": [i, j, min(self.slab, k)], "halo": 0, "blend": self.overlap}

    def _ask(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        while True:
            try:
                answer = self._blended(x_t, timestep)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if self.slab // 2 < 2 * self.overlap:
                    raise PetdiffError(
                        f"out of memory on {x_t.device} with slabs of {self.slab}: use another "
                        "--device"
                    ) from error
            else:
                self.done += 1
                return answer
            self.slab //= 2
            if x_t.device.type == "cuda":
                torch.cuda.empty_cache()
            print(
                f"out of memory: slab halved to {self.slab}, which changes the result a little",
                file=sys.stderr,
                flush=True,
            )

    def _blended(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """The network's answer for the volume [1, c, i, j, k]."""
        starts = slab_starts(x_t.shape[-1], self.slab, self.overlap)
        answer: Tensor | None = None
        for n, start in enumerate(starts):
            part = slice(start, start + self.slab)
            piece = self.method.predict(x_t[..., part], timestep, self.fields[None, ..., part])
            answer = piece if answer is None else append_blended(answer, piece, start, self.overlap)
            if self.callback is not None:
                self.callback(self.done * len(starts) + n + 1, self.calls * len(starts))
        assert answer is not None
        return answer


def slab_starts(length: int, slab: int, overlap: int) -> list[int]:
    """Where slabs start that cover `length` and overlap by `overlap`, the last by more."""
    last = max(length - slab, 0)
    return [*range(0, last, slab - overlap), last]


def append_blended(done: Tensor, piece: Tensor, start: int, overlap: int) -> Tensor:
    """`done` [..., k], then `piece` from `start` on: a linear ramp over the last voxels of done."""
    end = done.shape[-1]
    ramp = torch.linspace(0, 1, overlap, device=done.device)
    piece = piece[..., end - overlap - start :]
    zone = torch.lerp(done[..., end - overlap :], piece[..., :overlap], ramp)
    return torch.cat([done[..., : end - overlap], zone, piece[..., overlap:]], dim=-1)
