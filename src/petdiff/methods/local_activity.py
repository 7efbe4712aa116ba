"""The domain in which flow3d works: the ratio of a scan to its own local activity.

A network that sees SUV saturates at the highest uptake of its training. A network that sees the
ratio r = x / s − 1, where s is a smooth positive field computed from the measured scan y, knows no
scale: y times two gives s times two and the same r, hence an answer times two. Since s is known,
the mean of r gives the mean of x without the bias of a logarithm or a root.

Arrays are [i, j, k] of a whole scan; widths are in voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# Gaussian σ in voxels: of s, of its far share, of what the fields compare with, and of what noise
# is measured against. The last is so fine that little texture passes for noise.
NEAR, FAR, CONTEXT, FINE = 2.0, 6.0, 4.0, 1.0
_FAR_SHARE = 0.03
_FLOOR = 1e-3  # of the scan's level, keeps s positive where nothing was measured
_LEEWAY = 0.005  # of s: keeps the factor of `keep_activity` finite where x is zero all around
_MOST = 10.0  # bounds it
_PASSES = (NEAR, NEAR, FINE, FINE)  # each leaves a fraction of what was still missing
_FINE_NOISE = 0.45  # noise of a scan whose activity is known half as finely
_LOG_NOISE_CENTRE = -1.9  # about the middle of log noise over doses 1 … 1/200: centres a field


@dataclass
class LocalActivity:
    """A scan seen through its own local activity.

    smoothed  the scan [i, j, k] in SUV, smoothed by Gaussians of σ NEAR and FINE
    activity  the positive field s [i, j, k], SUV
    fields    what the network sees of the scan [4, i, j, k], free of scale: the ratio y/s − 1, the
              log of s against its surroundings, the log of the noise around each voxel, and the log
              of the whole scan's noise, the same everywhere
    """

    smoothed: dict[float, Tensor]
    activity: Tensor
    fields: Tensor

    def settle(self, r: Tensor) -> Tensor:
        """r [i, j, k] with the scan's own regional activity."""
        return keep_activity(r, self.activity, self.smoothed, self.fields[3, 0, 0, 0])

    def decode(self, r: Tensor) -> Tensor:
        """Ratio → SUV."""
        return self.activity * (1 + r)


def level(y: Tensor) -> Tensor:
    """A scan's own unit of activity: (mean √y)², hardly moved by one hot organ."""
    return y.clamp(min=0).sqrt().mean().square()


def local_activity(y: Tensor, dtype: torch.dtype = torch.float32) -> LocalActivity:
    """See the scan y [i, j, k] (SUV, any scale, at least one positive voxel) in its own ratio."""
    positive = y.clamp(min=0)
    smoothed = {sigma: gaussian(positive, sigma) for sigma in (NEAR, FINE)}
    s = smoothed[NEAR] + _FAR_SHARE * gaussian(positive, FAR) + _FLOOR * level(y)
    fields = torch.empty((4, *y.shape), dtype=dtype, device=y.device)
    fields[0] = y / s - 1
    rough = (y - smoothed[FINE]).div_(s).square_()
    log_noise = gaussian(rough, CONTEXT).clamp_(min=1e-10).log_().mul_(0.5)
    fields[2] = log_noise.sub_(_LOG_NOISE_CENTRE)
    fields[3] = scan_noise(log_noise, s)
    del log_noise, rough
    log_s = s.log()
    fields[1] = log_s - gaussian(log_s, CONTEXT)
    return LocalActivity(smoothed, s, fields)


def keep_activity(
    r: Tensor, s: Tensor, smoothed: Mapping[float, Tensor], log_noise: Tensor
) -> Tensor:
    """Scale x = s (1 + r) so that, smoothed as the scan was, it shows the same activity.

    Over a few voxels a scan's activity is measured well, even at a low dose: what a network knows
    better is how it is distributed among them. How few depends on the scan's noise (the fourth of
    the fields), so that FINE is weighed by it. All [..., i, j, k].
    """
    fine = 1 / (1 + (noise_ratio(log_noise.float()) / _FINE_NOISE) ** 8)
    for sigma in _PASSES:
        shown = gaussian(s * (1 + r), sigma).clamp(min=0)
        factor = (smoothed[sigma] + _LEEWAY * s) / (shown + _LEEWAY * s)
        factor = factor.clamp(max=_MOST)
        r = (1 + r) * (factor if sigma == NEAR else factor**fine) - 1
    return r


def scan_noise(log_noise: Tensor, s: Tensor) -> Tensor:
    """Median of the local log noise in the body: structure is here and there, noise everywhere."""
    sparse = (slice(None, None, 2),) * 3
    log_noise, s = log_noise[sparse], s[sparse]
    return log_noise[s >= 0.5 * s.mean()].median()


def noise_ratio(log_noise: Tensor) -> Tensor:
    """Standard deviation of the ratio's finest noise, from the third or fourth of the fields."""
    return (log_noise + _LOG_NOISE_CENTRE).exp()


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Gaussian filter of volumes [..., i, j, k], σ in voxels, reflected at the ends.

    Each axis is one matrix product with the filter's (banded) matrix: dense arithmetic, and still
    many times faster than a sliding kernel on any device.
    """
    i, j, k = x.shape[-3:]
    with torch.autocast(x.device.type, enabled=False):  # a sum of many voxels needs full precision
        x = x @ _filter_matrix(k, sigma, x).T
        x = _filter_matrix(j, sigma, x) @ x
        return (_filter_matrix(i, sigma, x) @ x.flatten(-2)).reshape(x.shape)


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
