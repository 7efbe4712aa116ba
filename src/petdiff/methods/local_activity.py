"""The local-activity domain: a scan divided by a smoothed copy of itself.

A network on SUV saturates at the highest uptake of its training. The ratio r = x / s − 1, where s
is a smooth positive volume computed from the measured scan y, does not depend on the scale of the
scan: y times two gives s times two and the same r, hence an estimate times two. Since s is known,
the mean of r gives the mean of x without the bias of a logarithm or a root.

Arrays are [i, j, k] of a whole scan; widths are standard deviations of Gaussians, in voxels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from petdiff.methods.activity_preservation import ActivityPreserver
from petdiff.methods.base import Condition
from petdiff.methods.local_activity_constants import DEFAULTS, LocalActivityConstants
from petdiff.volume.filters import gaussian_smooth, smoothed_ranges
from petdiff.volume.planes import fortran_order


class ScanChannel(IntEnum):
    """The channels of `LocalActivity.fields`, in order. None depends on the scale of the scan.

    RATIO            y/s − 1
    SURROUNDINGS     log s minus its mean around the voxel
    LOCAL_NOISE      log of the noise measured around each voxel, minus `log_noise_centre`
    EXPECTED_NOISE   log of the noise expected from count statistics, minus `log_noise_centre`
    LACKING_COUNTS   share of the full dose's counts that the scan lacks, the same in all voxels:
                     19/20 at 1/20 of the dose; 0 if the dose is not known
    """

    RATIO = 0
    SURROUNDINGS = 1
    LOCAL_NOISE = 2
    EXPECTED_NOISE = 3
    LACKING_COUNTS = 4


class OutputChannel(IntEnum):
    """The channels of a denoiser's output: r, and the trust in the scan at the two fine scales."""

    RATIO = 0
    TRUST_FINE = 1
    TRUST_FINEST = 2


def channel(x: Tensor, which: IntEnum) -> Tensor:
    """Return one channel of [..., c, i, j, k], as [..., 1, i, j, k]."""
    return x.narrow(-4, which, 1)


@dataclass
class LocalActivity(Condition):
    """A scan in the local-activity domain. Fields that need a few planes only are not stored.

    scan             the scan [i, j, k], in its unit; all volumes are in Fortran order
    activity         the positive volume s [i, j, k], in the scan's unit
    surroundings     SURROUNDINGS [i, j, k], in the dtype of the fields
    local_noise      LOCAL_NOISE [i, j, k], in the dtype of the fields
    scan_noise       EXPECTED_NOISE at an activity of `typical`, 0-d
    typical          median of s over the body, 0-d
    lacking_counts   LACKING_COUNTS
    """

    scan: Tensor
    activity: Tensor
    surroundings: Tensor
    local_noise: Tensor
    scan_noise: Tensor
    typical: Tensor
    lacking_counts: float
    constants: LocalActivityConstants = DEFAULTS

    @property
    def fields(self) -> Tensor:  # type: ignore[override]
        """The input channels from the scan: one for each ScanChannel [5, i, j, k]."""
        return self.fields_of(slice(0, self.scan.shape[-1]))

    def fields_of(self, planes: slice) -> Tensor:
        """Return the fields of planes along k, in Fortran order."""
        i, j, n = self.scan[..., planes].shape
        like = self.local_noise
        fields = like.new_empty((len(ScanChannel), n, j, i)).transpose(-1, -3)
        fields[ScanChannel.RATIO] = (self.scan[..., planes] / self.activity[..., planes]).sub_(1)
        fields[ScanChannel.SURROUNDINGS] = self.surroundings[..., planes]
        fields[ScanChannel.LOCAL_NOISE] = self.local_noise[..., planes]
        fields[ScanChannel.EXPECTED_NOISE] = self.expected_noise(planes)
        fields[ScanChannel.LACKING_COUNTS] = self.lacking_counts
        return fields

    def expected_noise(self, planes: slice) -> Tensor:
        """Return EXPECTED_NOISE of planes along k, in float32: lower in hot organs."""
        c = self.constants
        less = (self.activity[..., planes] / self.typical).log_().mul_(c.noise_power)
        return less.clamp_(min=-c.most_log_noise).neg_().add_(self.scan_noise)

    def preserve_activity_of_parts(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield r with the scan's own regional activity, from parts of OutputChannels."""
        log_noise = self._rounded_expected_noise
        return ActivityPreserver(self.activity, self.scan, log_noise, self.constants)(parts)

    def _rounded_expected_noise(self, planes: slice) -> Tensor:
        """Return EXPECTED_NOISE rounded to the dtype of the fields, as in training."""
        return self.expected_noise(planes).to(self.local_noise.dtype)

    def decode(self, r: Tensor) -> Tensor:
        """Return the activity of a ratio, s (1 + r)."""
        return torch.addcmul(self.activity, self.activity, r)

    def standard_deviation(self, of_samples: Tensor) -> Tensor:
        """Add the noise of the regional activity: a share of the noise around each voxel."""
        noise = noise_ratio(self.local_noise.float(), self.constants)
        shared = noise.mul_(self.constants.regional_noise).mul_(self.activity)
        return of_samples.hypot(shared)

    def regional_error(self, white: Tensor) -> Tensor:
        """Draw the noise of the regional activity that all samples share, at the scale `fine`.

        It is smoothed white noise with the strength of the noise around each voxel. A mean over
        many voxels then varies as it does in the measured scan. If the dose is known, it has only
        the noise of the counts that the scan lacks, because the full-dose scan has the other counts
        as well.
        """
        c = self.constants
        strength = noise_ratio(self.local_noise.float(), c).div_(_WHITE_FINE)
        smooth = gaussian_smooth(white, c.fine).mul_(math.sqrt(self.lacking_counts or 1.0))
        return smooth.mul_(strength).mul_(self.activity)


def typical_activity(y: Tensor) -> Tensor:
    """Return a typical activity of a scan, (mean √y)², which a single hot organ hardly changes."""
    return y.clamp(min=0).sqrt_().mean().square()


def local_activity(
    y: Tensor,
    dtype: torch.dtype = torch.float32,
    drf: float | None = None,
    constants: LocalActivityConstants = DEFAULTS,
) -> LocalActivity:
    """Return a scan y [i, j, k], in any unit and with a positive voxel, in this domain.

    drf  dose reduction factor, 20 at 1/20 of the full dose; None: not known
    """
    c = constants
    y = fortran_order(y)
    positive = y.clamp(min=0)
    s = _smooth_activity(positive, c)
    log_noise = _local_noise(y, positive, s, c)
    del positive
    scan_noise, typical = _noise_of_scan(y, log_noise, s, c)
    local_noise = log_noise.to(dtype, copy=True)
    surroundings = torch.empty_like(local_noise)
    log_s = torch.log(s, out=log_noise)
    for planes, around in smoothed_ranges(log_s, c.context):
        surroundings[..., planes] = log_s[..., planes] - around
    lacking = 1 - 1 / drf if drf else 0.0
    return LocalActivity(y, s, surroundings, local_noise, scan_noise, typical, lacking, c)


def _smooth_activity(positive: Tensor, constants: LocalActivityConstants) -> Tensor:
    """Return the positive volume s [i, j, k] of a scan without its negative values."""
    c = constants
    s = torch.empty_like(positive)
    least = c.floor * typical_activity(positive)
    widths = (smoothed_ranges(positive, width) for width in (c.near, c.far))
    for (planes, near), (_, far) in zip(*widths, strict=True):
        s[..., planes] = near.add_(least).add_(far, alpha=c.far_share)
    return s


def _local_noise(
    y: Tensor, positive: Tensor, s: Tensor, constants: LocalActivityConstants
) -> Tensor:
    """Return the log of the noise of y / s around each voxel [i, j, k], centred."""
    c = constants
    rough = torch.empty_like(s)
    for planes, fine in smoothed_ranges(positive, c.fine):
        rough[..., planes] = (y[..., planes] - fine).div_(s[..., planes]).square_()
    log_noise = torch.empty_like(s)
    for planes, around in smoothed_ranges(rough, c.context):
        around.clamp_(min=1e-10).log_().mul_(0.5).sub_(c.log_noise_centre)
        log_noise[..., planes] = around
    return log_noise


def _noise_of_scan(
    y: Tensor, log_noise: Tensor, s: Tensor, constants: LocalActivityConstants
) -> tuple[Tensor, Tensor]:
    """Return the log noise of a scan, centred as LOCAL_NOISE, and the activity where it holds.

    Both are 0-d. The noise is `spectral_noise`, limited to at most the median of the local noise
    over the body and at least an eighth of it (`most_anatomy`). The lower limit is for scans whose
    highest frequencies were removed by a filter or an interpolation: their spectrum shows too
    little noise. The noise expected at another activity follows from count statistics: relative to
    its activity, a hot organ has less noise.
    """
    c = constants
    sparse = (slice(None, None, 2),) * 3
    few = s[sparse]
    body = few >= 0.5 * few.mean()
    of_scan = log_noise[sparse][body].median()
    spectral = spectral_noise(y, s, c)
    if spectral is not None:
        measured = spectral.log() - c.log_noise_centre
        of_scan = measured.clamp(of_scan - math.log(c.most_anatomy), of_scan)
    return of_scan, few[body].median()


# Root mean square of unit white noise after second differences along all three axes, and after
# these twice: the sums of squares of (-¼, ½, -¼) and of its convolution with itself, to the power
# 3/2.
_WHITE_SECOND, _WHITE_FOURTH = (6 / 16) ** 1.5, (70 / 256) ** 1.5
# Root mean square of unit white noise minus itself smoothed by a Gaussian of width 1.
_WHITE_FINE = math.sqrt(1 - 2 / (2 * math.pi) ** 1.5 + 1 / (4 * math.pi) ** 1.5)


def spectral_noise(
    y: Tensor, s: Tensor, constants: LocalActivityConstants = DEFAULTS
) -> Tensor | None:
    """Return the standard deviation of the fine noise of y / s, a scalar, from its spectrum.

    Towards the highest frequencies anatomy falls off much faster than noise. Second differences
    along all three axes therefore leave hardly anything but noise: the first band. Second
    differences of the first band are the second band. The ratio of the two bands shows how the
    noise is coloured, and so how strong it is at lower frequencies, where anatomy dominates. Let q
    be this ratio, first over second, over that of white noise. The result is the standard deviation
    of the fine noise (noise minus itself after a Gaussian of width 1) of white noise with the same
    first band, times exp(colour · (log q)^colour_power).

    y, s  the scan and its local activity [i, j, k]

    Returns None if the scan is too thin for a window, or no window lies in the body.
    """
    side = constants.noise_window
    if min(y.shape) < side + 4:
        return None
    y, s = y.transpose(-1, -3), s.transpose(-1, -3)  # the order in memory
    windows = []
    for start in range(0, len(y) - side - 3, side):
        second = _differenced_twice(y[start : start + side + 4])
        around = s[start + 2 : start + side + 2, 2:-2, 2:-2]
        bands = torch.stack([second[1:-1, 1:-1, 1:-1], _differenced_twice(second)]).div_(around)
        windows.append(F.avg_pool3d(torch.cat([bands.square_(), around[None]]), side).flatten(1))
    *powers, activity = torch.cat(windows, dim=1)
    body = activity >= 0.5 * s.mean()
    if not body.any():
        return None
    second, fourth = (power[body].clamp(min=1e-14).sqrt().median() for power in powers)
    colour = (_WHITE_FOURTH / _WHITE_SECOND * second / fourth).log().clamp(min=0)
    colour = (constants.colour * colour**constants.colour_power).exp()
    fine: Tensor = _WHITE_FINE / _WHITE_SECOND * second * colour
    return fine


def noise_ratio(log_noise: Tensor, constants: LocalActivityConstants = DEFAULTS) -> Tensor:
    """Return the standard deviation of the ratio's fine noise, from LOCAL_ or EXPECTED_NOISE."""
    return (log_noise + constants.log_noise_centre).exp()


def _differenced_twice(x: Tensor) -> Tensor:
    """Return x [i, j, k] filtered by (-¼, ½, -¼) along every axis; each axis loses two voxels."""
    for axis, n in enumerate(x.shape):
        sides = x.narrow(axis, 0, n - 2) + x.narrow(axis, 2, n - 2)
        x = x.narrow(axis, 1, n - 2) / 2 - sides / 4
    return x
