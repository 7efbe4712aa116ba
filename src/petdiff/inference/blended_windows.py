"""A denoiser of whole volumes by blended windows, for methods without exact slabs.

Networks with statistics over their whole input give other results at other window positions.
Neighbouring windows therefore overlap and are blended. The network's raw outputs are blended at
every step, and the noise is drawn for the whole volume. (The published code samples each slab
completely and blends the results, so that each slab has other noise.)
"""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
from torch import Tensor

from petdiff.device import within_memory
from petdiff.diffusion.denoiser import VarianceDenoiser
from petdiff.errors import PetdiffError
from petdiff.inference.record import VolumeCut
from petdiff.methods.base import WindowedMethod
from petdiff.progress import ProgressCallback


class WindowDenoiser:
    """denoiser(x, sigma) → x0 over a volume [i, j, k], with its variance if the method has one.

    method    with its network on the scan's device
    fields    of the whole scan [c, i, j, k]; every axis is a multiple of method.multiple
    tile      side of a window in voxels; None: as in training
    callback  called with (windows done, windows in all) over `calls` calls
    """

    def __init__(
        self,
        method: WindowedMethod,
        fields: Tensor,
        tile: int | None,
        callback: ProgressCallback | None,
        calls: int,
    ) -> None:
        self.method = method
        self.fields = fields
        self.shape = fields.shape[1:]
        self.window = [
            n if wanted is None else min(n, self._rounded(tile or wanted, overlap))
            for n, wanted, overlap in zip(self.shape, method.window, method.overlap, strict=True)
        ]
        self.callback, self.calls, self.done = callback, calls, 0
        self.adapter = method.adapter(self._output)

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.adapter(x[None, None], sigma)[0, 0]

    @torch.inference_mode()
    def with_variance(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """See VarianceDenoiser."""
        assert isinstance(self.adapter, VarianceDenoiser)
        x0, variance = self.adapter.with_variance(x[None, None], sigma, sigma_next)
        return x0[0, 0], variance[0, 0]

    def describe(self) -> VolumeCut:
        """Return how the volume is cut and blended."""
        i, j, k = self.window
        return VolumeCut(tile=(i, j, k), blend=self.method.overlap)

    def _output(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Return `_blended`, with smaller windows if memory is exhausted."""
        output = within_memory(partial(self._blended, x_t, timestep), self._halve_window)
        self.done += 1
        return output

    def _halve_window(self) -> str:
        smaller = self._rounded(self.window[2] // 2, self.method.overlap[2])
        if smaller >= self.window[2]:
            raise PetdiffError(
                f"out of memory on {self.fields.device} with windows of {self.window}: use another "
                "`device`"
            )
        self.window[2] = smaller
        return f"window cut to {smaller} along k, which changes the result a little"

    def _blended(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Return the network's raw output for the volume [1, c, i, j, k]."""
        spans = [
            weighted_spans(n, window, overlap)
            for n, window, overlap in zip(self.shape, self.window, self.method.overlap, strict=True)
        ]
        cut = list(product(*spans))
        output: Tensor | None = None
        for n, window in enumerate(cut):
            i, j, k = (weight.to(x_t.device) for _, weight in window)
            along_i, along_j, along_k = (span for span, _ in window)
            part = (..., along_i, along_j, along_k)
            piece = self.method.predict(x_t[part], timestep, self.fields[None][part])
            if output is None:
                output = piece.new_zeros(*piece.shape[:2], *self.shape)
            output[part] += piece * (i[:, None, None] * j[:, None] * k)
            if self.callback is not None:
                self.callback(self.done * len(cut) + n + 1, self.calls * len(cut))
        assert output is not None
        return output

    def _rounded(self, wanted: int, overlap: int) -> int:
        """Return the largest valid window up to `wanted`, but at least twice the overlap."""
        multiple = self.method.multiple
        return max(wanted // multiple, -(-2 * overlap // multiple), 1) * multiple


def weighted_spans(length: int, window: int, overlap: int) -> list[tuple[slice, Tensor]]:
    """Return spans of `window` voxels that cover an axis, and the weights of their voxels.

    At each voxel of the axis the weights sum to 1. They are ramps over `overlap` voxels, from 0 to
    1 and from 1 to 0. The last span is as long as the others, and its weights are 0 where it
    overlaps more than `overlap` voxels.
    """
    starts = window_starts(length, window, overlap)
    ramp = torch.linspace(0, 1, overlap)
    spans = []
    for n, start in enumerate(starts):
        weight = torch.ones(min(window, length))
        if n > 0:
            rise = starts[n - 1] + window - overlap - start
            weight[:rise] = 0
            weight[rise : rise + overlap] = ramp
        if n < len(starts) - 1:
            weight[window - overlap :] = 1 - ramp
        spans.append((slice(start, start + len(weight)), weight))
    return spans


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return the starts of windows that cover `length` and overlap by at least `overlap`."""
    if length <= window:
        return [0]
    last = length - window
    return [*range(0, last, window - overlap), last]
