"""Draw samples of a scan, and sum up their mean and standard deviation.

The sums need the same memory for any number of samples.

Quantiles of samples are not computed. With the usual 4 to 32 samples, the quantiles of an interval
would be the outermost samples. Intervals come from a calibration instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from petdiff.image import PETImage
from petdiff.inference.blended_windows import WindowDenoiser
from petdiff.inference.body import Body
from petdiff.inference.grid import Drawn, Prepared, restore, with_air
from petdiff.inference.record import VolumeCut
from petdiff.inference.slabs import SlabDenoiser
from petdiff.methods.base import Condition, Method


@dataclass(frozen=True)
class Sampler:
    """Draws samples of a method on one scan.

    scan       [i, j, k], within the body's box
    denoiser   the method as a denoiser of this volume
    """

    method: Method
    scan: Tensor
    condition: Condition
    denoiser: SlabDenoiser | WindowDenoiser
    generator: torch.Generator

    @property
    def cut(self) -> VolumeCut:
        """How the volume was cut for the network."""
        return self.denoiser.describe()

    def draw(self, steps: int) -> Tensor:
        """Return a sample [i, j, k] in the scan's unit; from one step it is the posterior mean.

        No voxel is below 0, except where the scan is: there none is below the scan.
        """
        one_call = self.method.one_call_gives_mean and steps == 1
        noise = _no_noise(self.scan) if one_call else _white(self.scan, self.generator)
        drawn = self.method.sample(self.denoiser, noise, steps, self.generator)
        lowest = self.scan.clamp(max=0)
        return torch.maximum(self.condition.decode(drawn), lowest, out=lowest)

    def image(
        self, sample: Tensor, generator: torch.Generator, prepared: Prepared, body: Body
    ) -> PETImage:
        """Return a sample on the grid of the scan, with the error that its regions lack.

        generator  of that error (`Condition.regional_error`)
        """
        error = self.condition.regional_error(_white(self.scan, generator))
        varied = sample if error is None else sample + error
        return restore(with_air(Drawn(varied, None, self.cut), prepared, body), prepared)[0]


class RunningMoments:
    """Moments of samples [i, j, k] that are added one after another (Welford 1962).

    mean  mean of the samples so far; after the first sample it is the sample itself, not a copy
    """

    def __init__(self, like: Tensor, *, squares: bool) -> None:
        self.count, self.mean = 0, like.new_zeros(())
        self._squares = torch.zeros_like(like) if squares else None

    def add(self, sample: Tensor) -> None:
        """Add a sample."""
        self.count += 1
        if self.count == 1:
            self.mean = sample
            return
        gap = sample - self.mean
        self.mean = self.mean + gap / self.count
        if self._squares is not None:
            gap *= sample - self.mean
            self._squares += gap

    def standard_deviation(self) -> Tensor | None:
        """Return the standard deviation, with divisor n − 1; None if squares are not summed."""
        return None if self._squares is None else (self._squares / (self.count - 1)).sqrt_()


def _white(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return unit noise on the grid of a volume [i, j, k], independent of its order in memory."""
    return torch.empty_like(like).copy_(torch.randn(like.shape, generator=generator))


def _no_noise(like: Tensor) -> Tensor:
    """Return the noise for a call that does not use it: zeros that take no memory."""
    return like.new_zeros(()).expand(like.shape)
