"""Mean and standard deviation of samples by running sums, in memory independent of their number.

Quantiles of samples are not computed. With the usual 4 to 32 samples, the quantiles of an interval
would be the outermost samples. Intervals come from a calibration instead.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
