"""The domain in which flow3d works: the ratio of a scan to its own local activity.

A network that sees SUV saturates at the highest uptake of its training. A network that sees the
ratio r = x / s − 1, where s is a smooth positive field computed from the measured scan y, knows no
scale: y times two gives s times two and the same r, hence an answer times two. Since s is known, the
mean of r gives the mean of x without the bias of a logarithm or a root.

Arrays are [..., i, j, k]; widths are in voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR, FAR, CONTEXT = 2.0, 6.0, 4.0  # Gaussian σ in voxels: of s, of its far share, of the fields
_FAR_SHARE = 0.03
_FLOOR = 1e-3  # of the scan's level, keeps s positive where nothing was measured
_LOG_NOISE_CENTRE = -1.0  # about the middle of log noise over doses 1 … 1/200: centres a field


@dataclass
class LocalActivity:
    """A scan seen through its own local activity.

    near      Gaussian-smoothed scan [..., i, j, k], SUV
    activity  the positive field s [..., i, j, k], SUV
    fields    what the network sees of the scan [..., 3, i, j, k], free of scale: the ratio y/s − 1,
              the log of s against its surroundings, and the log of the local noise
    """

    near: Tensor
    activity: Tensor
    fields: Tensor

    def decode(self, r: Tensor) -> Tensor:
        """Ratio → SUV."""
        return self.activity * (1 + r)


def level(y: Tensor) -> Tensor:
    """A scan's own unit of activity: (mean √y)², hardly moved by one hot organ; shape [..., 1, 1, 1]."""
    return y.clamp(min=0).sqrt().mean(dim=(-3, -2, -1), keepdim=True).square()


def local_activity(y: Tensor, dtype: torch.dtype = torch.float32) -> LocalActivity:
    """See the scan y [..., i, j, k] (SUV, any scale, at least one positive voxel) in its own ratio."""
    positive = y.clamp(min=0)
    near = gaussian(positive, NEAR)
    s = near + _FAR_SHARE * gaussian(positive, FAR) + _FLOOR * level(y)
    ratio = y / s - 1
    fields = torch.empty((*y.shape[:-3], 3, *y.shape[-3:]), dtype=dtype, device=y.device)
    fields.select(-4, 0).copy_(ratio)
    noise = gaussian(ratio.square_(), CONTEXT).clamp_(min=1e-8).log_().mul_(0.5)
    fields.select(-4, 2).copy_(noise.sub_(_LOG_NOISE_CENTRE))
    del noise, ratio
    log_s = s.log()
    fields.select(-4, 1).copy_(log_s - gaussian(log_s, CONTEXT))
    return LocalActivity(near, s, fields)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Gaussian filter over the last three axes, σ in voxels, reflected at the ends.

    Each axis is one matrix product with the filter's (banded) matrix: dense arithmetic, and still
    many times faster than a sliding kernel on any device.
    """
    i, j, k = x.shape[-3:]
    x = x @ _filter_matrix(k, sigma, x).T
    x = _filter_matrix(j, sigma, x) @ x
    flat = x.reshape(-1, i, j * k)
    return (_filter_matrix(i, sigma, x) @ flat).reshape(x.shape)


def _filter_matrix(n: int, sigma: float, like: Tensor) -> Tensor:
    """[n, n] matrix of a Gaussian truncated at 4 σ, the signal reflected about its end faces."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    taps /= taps.sum()
    rows = torch.arange(n).repeat_interleave(len(taps))
    columns = (torch.arange(n)[:, None] + offsets.long()).reshape(-1) % (2 * n)
    columns = torch.minimum(columns, 2 * n - 1 - columns)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix.index_put_((rows, columns), taps.repeat(n), accumulate=True)
    return matrix.to(like)
