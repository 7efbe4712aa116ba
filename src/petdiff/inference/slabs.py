"""A denoiser of whole volumes by exact slabs, whose thickness fits the available memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from petdiff.device import GIB, memory_budget, within_memory
from petdiff.errors import PetdiffError
from petdiff.inference.record import VolumeCut
from petdiff.methods.base import Condition, SlabMethod
from petdiff.progress import ProgressCallback
from petdiff.volume.planes import cat_planes, fortran_order

# Peak memory of the default network, in bytes per voxel of a slab and per byte of a number. Voxels
# include the waiting planes below. Measured over slabs of 8 to 96 planes of 96 x 96 voxels in two
# dtypes: tensors of the network 36 to 59, with fields and the passes after it 45 to 106. A process
# on a CPU grew by up to 124 (192 x 192 voxels, bfloat16), which the margin of its budget covers.
BYTES_PER_VOXEL = 70
# Planes that wait within the default network for later planes. They count as half, in each of two
# passes; in a single pass of a DDPM, what follows the network takes the other half.
_DELAYED_PLANES = 64
# Voxels by which the second pass is shifted. The network unites voxels in blocks of 2, 4 and 8;
# shifted by an odd number it unites others. Lab book 40.
_SHIFT = 3
# On a CPU thicker slabs are no faster, because they do not fit its caches.
_VOXELS_ON_A_CPU = 1 << 20


class SlabDenoiser:
    """denoiser(x, sigma) → x0 over a volume [i, j, k] in the method's domain.

    method    with its network on the scan's device, in `dtype`
    condition of the whole scan, its fields in the network's dtype
    inside    bool [i, j, k]; outside, in air, x0 = 0
    planes    of a slab along k; None: a fast number that the memory budget allows
    callback  called with (slabs done, slabs in all) over `calls` calls

    At σ = ∞, where x has no effect, the method is called once for all samples.
    """

    def __init__(
        self,
        method: SlabMethod,
        condition: Condition,
        inside: Tensor,
        dtype: torch.dtype,
        planes: int | None,
        callback: ProgressCallback | None,
        calls: int,
    ) -> None:
        self.method = method
        self.condition, self.inside, self.dtype = condition, fortran_order(inside), dtype
        self.callback, self.calls, self.done = callback, calls, 0
        self._mean: Tensor | None = None
        wanted = self._planes_within_budget() if planes is None else planes
        self.planes = min(self._rounded(wanted), inside.shape[-1])

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not sigma.isinf() or self.calls == 1:
            return self._within_memory(x, sigma)
        if self._mean is None:
            self._mean = self._within_memory(x, sigma)
        return self._mean

    def _within_memory(self, x: Tensor, sigma: Tensor) -> Tensor:
        return within_memory(partial(self._evaluate, x, sigma), self._halve_planes)

    def _halve_planes(self) -> str:
        thinner = self._rounded(self.planes // 2)
        if thinner >= self.planes:
            raise PetdiffError(
                f"out of memory on {self.inside.device} with the thinnest slab; use another "
                "`device`"
            )
        self.planes = thinner
        return f"slab halved to {thinner} planes"

    def describe(self) -> VolumeCut:
        """Return how the volume is cut, and the expected memory of a slab."""
        i, j, _ = self.inside.shape
        return VolumeCut(
            tile=(i, j, self.planes),
            predicted_tile_gib=round(self._predicted_bytes(self.planes) / GIB, 3),
        )

    def _evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        x0, done = torch.empty_like(self.inside, dtype=x.dtype), 0
        for part in self.condition.preserve_activity_of_parts(self._outputs(x, sigma)):
            x0[..., done : done + part.shape[-1]] = part
            done += part.shape[-1]
        self.done += 1
        return x0

    def _outputs(self, x: Tensor, sigma: Tensor) -> Iterator[Tensor]:
        """Yield the method's output in parts [c, i, j, n], 0 in air, and report progress."""
        level = sigma.to(x.device, torch.float32).reshape(1)
        length, slabs = x.shape[-1], -(-x.shape[-1] // self.planes)
        ready = counted = 0
        for part in self._passes(x[None, None], level):
            planes = slice(ready, ready + part.shape[-1])
            yield part[0].mul_(self.inside[..., planes])
            ready = planes.stop
            done = slabs if ready == length else ready // self.planes
            if self.callback is not None and done > counted:
                self.callback(self.done * slabs + done, self.calls * slabs)
            counted = done

    def _passes(self, x: Tensor, sigma: Tensor) -> Iterator[Tensor]:
        """Yield the method's output in parts [1, c, i, j, n], as `slab_by_slab`.

        At σ = ∞, if the output is the posterior mean, it is the mean over two passes: of the scan,
        and of the scan turned by 180° about k and shifted by `_SHIFT` voxels along all axes. The
        outermost voxels that the shift removes have the output of the first pass.
        """
        fields_of, shift = self.condition.fields_of, _SHIFT
        once = self.method.slab_by_slab(x, sigma, fields_of, self.planes)
        if not (self.method.one_call_gives_mean and sigma.isinf()):
            yield from once
            return
        again = self.method.slab_by_slab(x, sigma, self._turned_fields, self.planes)
        waiting: list[Tensor] = []  # the first pass is `shift` planes ahead of the second
        beyond = shift  # planes at the beginning of the second pass that the first does not have
        for part, turned in zip(once, again, strict=True):
            first, second = cat_planes([*waiting, part]), turned[..., beyond:].flip(-3, -2)
            beyond -= turned.shape[-1] - second.shape[-1]
            both = second.shape[-1]
            waiting = [first[..., both:].clone()]
            if both:
                mean = first[..., :both]
                mean[..., shift:, shift:, :].add_(second[..., :-shift, :-shift, :]).mul_(0.5)
                yield mean
        yield from waiting

    def _turned_fields(self, planes: slice) -> Tensor:
        """Return the fields of planes of the turned and shifted scan [c, i, j, n].

        The voxels that the shift leaves free mirror their neighbours.
        """
        fields_of, shift = self.condition.fields_of, _SHIFT
        mirrored = fields_of(slice(0, shift)).flip(-1)[..., planes]
        kept = fields_of(slice(*(max(0, end - shift) for end in (planes.start, planes.stop))))
        fields = cat_planes([mirrored, kept]).flip(-3, -2)
        for axis in (-3, -2):
            mirrored = fields.narrow(axis, 0, shift).flip(axis)
            kept = fields.narrow(axis, 0, fields.shape[axis] - shift)
            fields = torch.cat([mirrored, kept], dim=axis)
        return fields

    def _planes_within_budget(self) -> int:
        """Return the largest fast number of planes within the memory budget."""
        i, j, k = self.inside.shape
        device = self.inside.device
        most = k if device.type != "cpu" else _VOXELS_ON_A_CPU // (i * j)
        budget = memory_budget(device)
        while most > self.method.multiple and self._predicted_bytes(most) > budget:
            most //= 2
        return most

    def _rounded(self, planes: int) -> int:
        """Return `planes` rounded down to a multiple of `method.multiple`, but at least it."""
        multiple = self.method.multiple
        return max(planes // multiple, 1) * multiple

    def _predicted_bytes(self, planes: int) -> int:
        i, j, k = self.inside.shape
        at_once = planes + min(_DELAYED_PLANES, k)
        return i * j * at_once * BYTES_PER_VOXEL * self.dtype.itemsize
