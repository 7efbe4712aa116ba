"""The domain in which flow3d works: the ratio of a scan to its own local activity.

A network that sees SUV saturates at the highest uptake of its training. A network that sees the
ratio r = x / s − 1, where s is a smooth positive field computed from the measured scan y, knows no
scale: y times two gives s times two and the same r, hence an answer times two. Since s is known,
the mean of r gives the mean of x without the bias of a logarithm or a root.

Arrays are [i, j, k] of a whole scan; widths are in voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from petdiff.methods.condition import BoundScan
from petdiff.volume.filters import gaussian_smooth

# Gaussian σ in voxels: of s, of its far share, of what the fields compare with, of what noise is
# measured against (so fine that little texture passes for noise), and the finest of all.
NEAR, FAR, CONTEXT, FINE, FINEST = 2.0, 6.0, 4.0, 1.0, 0.6
SMOOTHED = (NEAR, FINE, FINEST)  # as which `keep_activity` looks at a scan
_FAR_SHARE = 0.03
_FLOOR = 1e-3  # of the scan's level, keeps s positive where nothing was measured
_LEEWAY = 0.005  # of s: keeps the factor of `keep_activity` finite where x is zero all around
_MOST = 10.0  # bounds it
# Passes of `keep_activity`, each of which leaves a fraction of what was still missing. The fine
# ones are taken by half at this noise, unless the network knows better: it answers a trust for each
_PASSES = (NEAR, NEAR, FINE, FINE, FINEST)
_HALF_TRUSTED_NOISE = {FINE: 0.45, FINEST: 0.12}
_STEEPNESS = 4.0  # of the trust's fall around that noise
# All samples have the scan's regional activity. Its noise, as a share of that of the voxels there:
_REGIONAL_NOISE = 0.2  # fitted to 77 answers to 14 simulated patients (lab book, 18)
CHANNELS = 1 + len(_HALF_TRUSTED_NOISE)  # of an answer: r, and a trust for each fine σ
FIELDS = 5  # of a scan
# Relative noise falls with activity as a power between that of counts (0.5) and 0.2, over four
# scanners and four tracers; where it is cold, it hardly rises.
_NOISE_POWER, _MOST_LOG_NOISE = 0.4, 0.3
_LOG_NOISE_CENTRE = -1.9  # about the middle of log noise over doses 1 … 1/200: centres a field
# Where anatomy is not: second differences along all three axes, and these once more. Root mean
# square of white noise of 1 in these two bands, and in what a Gaussian of FINE takes away.
_WINDOW = 8  # side in voxels: the noise is that of the middle one of such windows in the body
_WHITE_SECOND, _WHITE_FOURTH = (6 / 16) ** 1.5, (70 / 256) ** 1.5
_WHITE_FINE = math.sqrt(1 - 2 / (2 * math.pi) ** 1.5 + 1 / (4 * math.pi) ** 1.5)
_MOST_ANATOMY = math.log(8)  # by which it can raise the local log noise
_COLOUR, _COLOUR_POWER = 2.2, 0.65  # fitted to 736 simulated scans (lab book, 14)


@dataclass
class LocalActivity(BoundScan):
    """A scan seen through its own local activity.

    smoothed  the scan [i, j, k] in SUV, smoothed by Gaussians of the σ of SMOOTHED
    activity  the positive field s [i, j, k], SUV
    fields    what flow3d looks at of the scan [FIELDS, i, j, k], free of scale: the ratio y/s − 1,
              the log of s against its surroundings, the log of the noise around each voxel, the log
              of the noise to be expected there, and, the same everywhere, the share of the full
              dose's counts that the scan lacks: 19/20 at 1/20 dose, 0 where its dose is not known
    """

    smoothed: dict[float, Tensor]
    activity: Tensor
    fields: Tensor

    def settle(self, answer: Tensor) -> Tensor:
        """r [i, j, k] with the scan's own regional activity, from an answer [CHANNELS, i, j, k]."""
        return keep_activity(answer.unbind(), self.activity, self.smoothed, self.fields[3])

    def decode(self, r: Tensor) -> Tensor:
        """Ratio → SUV."""
        return self.activity * (1 + r)

    def spread(self, of_samples: Tensor) -> Tensor:
        """With the noise of the regional activity, a share of that around each voxel."""
        shared = noise_ratio(self.fields[2].float()).mul_(_REGIONAL_NOISE).mul_(self.activity)
        return of_samples.hypot(shared)


def level(y: Tensor) -> Tensor:
    """A scan's own unit of activity: (mean √y)², hardly moved by one hot organ."""
    return y.clamp(min=0).sqrt().mean().square()


def local_activity(
    y: Tensor, dtype: torch.dtype = torch.float32, dose: float | None = None
) -> LocalActivity:
    """See the scan y [i, j, k] (SUV, any scale, at least one positive voxel) in its own ratio.

    dose  reduction factor, 20 at 1/20 dose, if it is known
    """
    positive = y.clamp(min=0)
    smoothed = {sigma: gaussian_smooth(positive, sigma) for sigma in SMOOTHED}
    s = smoothed[NEAR] + _FAR_SHARE * gaussian_smooth(positive, FAR) + _FLOOR * level(y)
    fields = torch.empty((FIELDS, *y.shape), dtype=dtype, device=y.device)
    fields[0] = y / s - 1
    rough = (y - smoothed[FINE]).div_(s).square_()
    log_noise = gaussian_smooth(rough, CONTEXT).clamp_(min=1e-10).log_().mul_(0.5)
    fields[2] = log_noise.sub_(_LOG_NOISE_CENTRE)
    fields[3] = expected_noise(y, log_noise, s)
    del log_noise, rough
    log_s = s.log()
    fields[1] = log_s - gaussian_smooth(log_s, CONTEXT)
    fields[4] = 1 - 1 / dose if dose else 0
    if bool((y < 0).any()):
        # Without its negative values noise adds activity: only what is left after smoothing is cut.
        smoothed = {sigma: gaussian_smooth(y, sigma).clamp_(min=0) for sigma in SMOOTHED}
    return LocalActivity(smoothed, s, fields)


def keep_activity(
    answer: Sequence[Tensor], s: Tensor, smoothed: Mapping[float, Tensor], log_noise: Tensor
) -> Tensor:
    """Scale x = s (1 + r) so that, smoothed as the scan was, it shows the same activity; gives r.

    Over a few voxels a scan's activity is measured well, even at a low dose: what a network knows
    better is how it is distributed among them. How few depends on the noise expected there (the
    fourth of the fields) and on how far it reaches, which the network tells by its trust.

    answer  r and the trusts, as log odds over what the noise lets expect; all [..., i, j, k]

    Where r says less than nothing, it says nothing: scaling what has both signs has no bound.
    """
    r, *trusts = answer
    r = r.clamp(min=-1)
    trust = dict(zip(_HALF_TRUSTED_NOISE, trusts, strict=True))
    log_noise = log_noise.float() + _LOG_NOISE_CENTRE
    for sigma in _PASSES:
        shown = gaussian_smooth(s * (1 + r), sigma).clamp(min=0)
        factor = (smoothed[sigma] + _LEEWAY * s) / (shown + _LEEWAY * s)
        factor = factor.clamp(max=_MOST)
        if sigma in trust:
            expected = _STEEPNESS * (math.log(_HALF_TRUSTED_NOISE[sigma]) - log_noise)
            factor = factor ** torch.sigmoid(expected + trust[sigma])
        r = (1 + r) * factor - 1
    return r


def expected_noise(y: Tensor, log_noise: Tensor, s: Tensor) -> Tensor:
    """Log noise that counts let expect at each voxel, from the scan's own and the activity.

    The scan's is what its spectrum tells, but no more than the median, over the body, of the local
    noise, and no less than an eighth of it: of a scan that a filter or an interpolation has rid of
    its highest frequencies the spectrum tells little. Hot organs have less noise, relative to their
    activity.
    """
    sparse = (slice(None, None, 2),) * 3
    few = s[sparse]
    body = few >= 0.5 * few.mean()
    of_scan = log_noise[sparse][body].median()
    spectral = spectral_noise(y, s)
    if spectral is not None:
        told = spectral.log() - _LOG_NOISE_CENTRE
        of_scan = told.clamp(of_scan - _MOST_ANATOMY, of_scan)
    less = (s / few[body].median()).log_().mul_(_NOISE_POWER).clamp_(min=-_MOST_LOG_NOISE)
    return of_scan - less


def spectral_noise(y: Tensor, s: Tensor) -> Tensor | None:
    """Standard deviation of the fine noise of y / s, told from anatomy by its spectrum; a scalar.

    Anatomy fades towards the highest frequencies much faster than noise. Where all three axes are
    differenced twice, a scan has hardly anything but noise, and twice more even less. How much
    smaller the second band is than the first tells how the noise is coloured, and so how much of it
    there is at the lower frequencies where anatomy hides it: with q the ratio of the bands over
    that of white noise, what white noise with this first band would have, times
    exp(2.2 (log q)^0.65).

    y, s  the scan and its local activity [i, j, k]

    None for a scan too thin to tell, or with no window in the body.
    """
    if min(y.shape) < _WINDOW + 4:
        return None
    windows = []
    for start in range(0, len(y) - _WINDOW - 3, _WINDOW):
        second = _differenced_twice(y[start : start + _WINDOW + 4])
        around = s[start + 2 : start + _WINDOW + 2, 2:-2, 2:-2]
        bands = torch.stack([second[1:-1, 1:-1, 1:-1], _differenced_twice(second)]).div_(around)
        windows.append(F.avg_pool3d(torch.cat([bands.square_(), around[None]]), _WINDOW).flatten(1))
    *powers, activity = torch.cat(windows, dim=1)
    body = activity >= 0.5 * s.mean()
    if not body.any():
        return None
    second, fourth = (power[body].clamp(min=1e-14).sqrt().median() for power in powers)
    colour = (_WHITE_FOURTH / _WHITE_SECOND * second / fourth).log().clamp(min=0)
    fine: Tensor = _WHITE_FINE / _WHITE_SECOND * second * (_COLOUR * colour**_COLOUR_POWER).exp()
    return fine


def noise_ratio(log_noise: Tensor) -> Tensor:
    """Standard deviation of the ratio's finest noise, from the third or fourth of the fields."""
    return (log_noise + _LOG_NOISE_CENTRE).exp()


def _differenced_twice(x: Tensor) -> Tensor:
    """-¼, ½, -¼ along every axis of [i, j, k], which lose two voxels each."""
    for axis, n in enumerate(x.shape):
        sides = x.narrow(axis, 0, n - 2) + x.narrow(axis, 2, n - 2)
        x = x.narrow(axis, 1, n - 2) / 2 - sides / 4
    return x
