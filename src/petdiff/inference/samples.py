"""Draw samples of a scan, and sum up their mean and standard deviation.

The sums need the same memory for any number of samples.

Quantiles of samples are not computed. With the usual 4 to 32 samples, the quantiles of an interval
would be the outermost samples. Intervals come from a calibration instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from petdiff.diffusion.noise import NoiseSource
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

    @property
    def cut(self) -> VolumeCut:
        """How the volume was cut for the network."""
        return self.denoiser.describe()

    def draw(self, steps: int, source: NoiseSource) -> Tensor:
        """Return a sample [i, j, k] in the scan's unit; from one step it is the posterior mean.

        No voxel is below 0, except where the scan is: there none is below the scan.
        """
        one_call = self.method.one_call_gives_mean and steps == 1
        noise = _no_noise(self.scan) if one_call else source(self.scan)
        drawn = self.method.sample(self.denoiser, noise, steps, source)
        lowest = self.scan.clamp(max=0)
        return torch.maximum(self.condition.decode(drawn), lowest, out=lowest)

    def image(
        self, sample: Tensor, source: NoiseSource, prepared: Prepared, body: Body
    ) -> PETImage:
        """Return a sample on the grid of the scan, with the error that its regions lack.

        source  draws the noise of that error (`Condition.regional_error`)
        """
        error = self.condition.regional_error(source(self.scan))
        varied = sample if error is None else sample + error
        return restore(with_air(Drawn(varied, None, self.cut), prepared, body), prepared)[0]


class RunningMoments:
    """Moments of samples [i, j, k] that are added one after another (Welford 1962).

    mean        mean of the samples so far; after the first sample it is the sample itself, not a
                copy
    antithetic  every second sample has the negative noise of the sample before it
    """

    def __init__(self, like: Tensor, *, squares: bool, antithetic: bool) -> None:
        self.count, self.mean, self.antithetic = 0, like.new_zeros(()), antithetic
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
        """Return the standard deviation of a sample; None if squares are not summed.

        The squared deviations of n samples from their mean add up to n · variance of a sample − n ·
        variance of the mean, on average. Of independent samples this is (n − 1) · variance. The
        mean of antithetic pairs hardly varies, so that only a sample without a partner counts.
        """
        if self._squares is None:
            return None
        n = self.count
        varies = (n % 2) / n if self.antithetic else 1
        return (self._squares / (n - varies)).sqrt_()


def _no_noise(like: Tensor) -> Tensor:
    """Return the noise for a call that does not use it: zeros that take no memory."""
    return like.new_zeros(()).expand(like.shape)
