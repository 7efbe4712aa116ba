"""The local-activity domain: a scan as its ratio to a smooth version of itself.

A network that sees SUV saturates at the highest uptake of its training. A network that sees the
ratio r = x / s − 1, where s is a smooth positive volume computed from the measured scan y, knows no
scale: y times two gives s times two and the same r, hence an answer times two. Since s is known,
the mean of r gives the mean of x without the bias of a logarithm or a root.

Arrays are [i, j, k] of a whole scan; widths are standard deviations of Gaussians, in voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from petdiff.methods.base import Condition
from petdiff.volume.filters import gaussian_smooth

Width = Annotated[float, Field(ge=0.1, le=50)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Scale = Literal["near", "fine", "finest"]


class ScanChannel(IntEnum):
    """What a network sees of a scan, all of it free of scale; the order of `LocalActivity.fields`.

    RATIO            y/s − 1
    SURROUNDINGS     log s against its surroundings
    LOCAL_NOISE      log of the noise around each voxel, about the middle of what is seen
    EXPECTED_NOISE   log of the noise that counts let expect there, likewise
    LACKING_COUNTS   share of the full dose's counts that the scan lacks, the same everywhere: 19/20
                     at 1/20 of the dose; 0 where the dose is not known
    """

    RATIO = 0
    SURROUNDINGS = 1
    LOCAL_NOISE = 2
    EXPECTED_NOISE = 3
    LACKING_COUNTS = 4


class AnswerChannel(IntEnum):
    """What a denoiser answers: r, and how far the scan is to be trusted at the two fine scales."""

    RATIO = 0
    TRUST_FINE = 1
    TRUST_FINEST = 2


def channel(x: Tensor, which: IntEnum) -> Tensor:
    """Return one channel of [..., c, i, j, k], as [..., 1, i, j, k]."""
    return x.narrow(-4, which, 1)


class LocalActivityConstants(BaseModel):
    """Every number of the domain; each with where it comes from.

    "Chosen" values were set once in prototypes and not tuned since; "lab book" is docs/lab-book.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    near: Width = Field(default=2.0, description="width of s; prototypes before lab book 1")
    far: Width = Field(default=6.0, description="width of its far share; likewise")
    context: Width = Field(default=4.0, description="what SURROUNDINGS compares with; likewise")
    fine: Width = Field(default=1.0, description="what noise is measured against; lab book 3")
    finest: Width = Field(default=0.6, description="finest scale of kept activity; lab book 9")
    far_share: Share = Field(default=0.03, description="share of far in s; likewise")
    floor: Positive = Field(default=1e-3, description="share of the scan's level in s; likewise")
    passes: tuple[Scale, ...] = Field(
        default=("near", "near", "fine", "fine", "finest"),
        max_length=50,
        description="scales at which activity is kept, in turn; each leaves a part of what is "
        "still missing; lab book 4, 6 and 9",
    )
    leeway: Positive = Field(default=0.005, description="of s: bounds factors in air; lab book 6")
    most_factor: Positive = Field(default=10.0, description="greatest factor on activity; chosen")
    half_trusted_noise_fine: Positive = Field(
        default=0.45, description="noise at which half of a pass at fine is taken; lab book 9"
    )
    half_trusted_noise_finest: Positive = Field(
        default=0.12, description="noise at which half of a pass at finest is taken; lab book 9"
    )
    trust_steepness: Positive = Field(default=4.0, description="of the trust's fall there; chosen")
    regional_noise: Positive = Field(
        default=0.2,
        description="noise of the regional activity that samples share, over that of voxels; "
        "fitted to 77 answers to 14 simulated patients, lab book 18",
    )
    noise_power: Positive = Field(
        default=0.4,
        description="relative noise falls with activity to this power, between that of counts, "
        "0.5, and 0.2, over four scanners and four tracers; lab book 9",
    )
    most_log_noise: Positive = Field(
        default=0.3, description="by which it rises where it is cold; chosen"
    )
    log_noise_centre: float = Field(
        default=-1.9,
        ge=-20,
        le=20,
        description="middle of log noise over doses 1 … 1/200; chosen",
    )
    noise_window: int = Field(
        default=8,
        ge=2,
        le=64,
        description="side of a window, in voxels; lab book 12",
    )
    most_anatomy: float = Field(
        default=8.0,
        ge=1,
        le=1e6,
        description="anatomy over noise; lab book 14",
    )
    colour: Positive = Field(default=2.2, description="fitted to 736 scans, lab book 14")
    colour_power: Positive = Field(
        default=0.65, description="fitted to 736 simulated scans, lab book 14"
    )

    def width(self, scale: Scale) -> float:
        """Return the width of one of the scales at which activity is kept."""
        return {"near": self.near, "fine": self.fine, "finest": self.finest}[scale]


DEFAULTS = LocalActivityConstants()


@dataclass
class LocalActivity(Condition):
    """A scan seen through its own local activity.

    smoothed  the scan [i, j, k] smoothed at the scales at which activity is kept, in its unit
    activity  the positive volume s [i, j, k], in the scan's unit
    fields    what the network sees of the scan: a channel for each ScanChannel [5, i, j, k]
    """

    smoothed: Mapping[Scale, Tensor]
    activity: Tensor
    fields: Tensor
    constants: LocalActivityConstants = DEFAULTS

    def keep_activity(self, answer: Tensor) -> Tensor:
        """Return r [i, j, k] with the scan's own regional activity, of AnswerChannels."""
        noise = self.fields[ScanChannel.EXPECTED_NOISE]
        return keep_activity(answer.unbind(), self.activity, self.smoothed, noise, self.constants)

    def decode(self, r: Tensor) -> Tensor:
        """Return the activity of a ratio."""
        return self.activity * (1 + r)

    def standard_deviation(self, of_samples: Tensor) -> Tensor:
        """Add the noise of the regional activity, a share of that around each voxel."""
        noise = noise_ratio(self.fields[ScanChannel.LOCAL_NOISE].float(), self.constants)
        shared = noise.mul_(self.constants.regional_noise).mul_(self.activity)
        return of_samples.hypot(shared)

    def regional_error(self, white: Tensor) -> Tensor:
        """Draw the noise of the regional activity that samples keep, at the scale `fine`.

        It is white noise as strong as that around each voxel, smoothed; a mean over many voxels
        then varies as it does in the measured scan. Where the dose is known, only the noise of the
        counts that the scan lacks counts: the full-dose scan has the rest as well.
        """
        fields, c = self.fields, self.constants
        strength = noise_ratio(fields[ScanChannel.LOCAL_NOISE].float(), c).div_(_WHITE_FINE)
        lacking = float(fields[ScanChannel.LACKING_COUNTS].max()) or 1.0
        smooth = gaussian_smooth(white, c.fine).mul_(math.sqrt(lacking))
        return smooth.mul_(strength).mul_(self.activity)


def level(y: Tensor) -> Tensor:
    """Return a scan's own unit of activity, (mean √y)², which one hot organ hardly moves."""
    return y.clamp(min=0).sqrt().mean().square()


def local_activity(
    y: Tensor,
    dtype: torch.dtype = torch.float32,
    drf: float | None = None,
    constants: LocalActivityConstants = DEFAULTS,
) -> LocalActivity:
    """Return a scan y [i, j, k], in any unit and with a positive voxel, in its own ratio.

    drf  dose reduction factor, 20 at 1/20 of the full dose; None: not known
    """
    c = constants
    positive = y.clamp(min=0)
    smoothed = smoothed_at_scales(positive, c)
    s = smoothed["near"] + c.far_share * gaussian_smooth(positive, c.far) + c.floor * level(y)
    fields = torch.empty((len(ScanChannel), *y.shape), dtype=dtype, device=y.device)
    fields[ScanChannel.RATIO] = y / s - 1
    rough = (y - smoothed["fine"]).div_(s).square_()
    log_noise = gaussian_smooth(rough, c.context).clamp_(min=1e-10).log_().mul_(0.5)
    fields[ScanChannel.LOCAL_NOISE] = log_noise.sub_(c.log_noise_centre)
    fields[ScanChannel.EXPECTED_NOISE] = expected_noise(y, log_noise, s, c)
    del log_noise, rough
    log_s = s.log()
    fields[ScanChannel.SURROUNDINGS] = log_s - gaussian_smooth(log_s, c.context)
    fields[ScanChannel.LACKING_COUNTS] = 1 - 1 / drf if drf else 0
    if bool((y < 0).any()):
        # Without its negative values noise adds activity: only what is left after smoothing is cut.
        smoothed = {scale: it.clamp_(min=0) for scale, it in smoothed_at_scales(y, c).items()}
    return LocalActivity(smoothed, s, fields, c)


def smoothed_at_scales(scan: Tensor, constants: LocalActivityConstants) -> dict[Scale, Tensor]:
    """Return a scan [..., i, j, k] smoothed at each of the scales at which activity is kept."""
    scales: tuple[Scale, ...] = ("near", "fine", "finest")
    return {scale: gaussian_smooth(scan, constants.width(scale)) for scale in scales}


def keep_activity(
    answer: Sequence[Tensor],
    s: Tensor,
    smoothed: Mapping[Scale, Tensor],
    log_noise: Tensor,
    constants: LocalActivityConstants = DEFAULTS,
) -> Tensor:
    """Scale x = s (1 + r) until, smoothed, it shows the activity of the smoothed scan; return r.

    Over a few voxels a scan's activity is measured well, even at a low dose: what a network knows
    better is how it is distributed among them. How few depends on the expected noise and on how far
    it reaches, of which the network's trust is the measure.

    answer     a tensor [..., i, j, k] for each AnswerChannel: r, and the trusts as log odds over
               what the noise lets expect
    log_noise  the scan's EXPECTED_NOISE

    r below −1 counts as −1: scaling what has both signs has no bound.
    """
    c = constants
    r, trust_fine, trust_finest = answer
    r = r.clamp(min=-1)
    trusts = {
        "fine": (trust_fine, c.half_trusted_noise_fine),
        "finest": (trust_finest, c.half_trusted_noise_finest),
    }
    log_noise = log_noise.float() + c.log_noise_centre
    for scale in c.passes:
        shown = gaussian_smooth(s * (1 + r), c.width(scale)).clamp(min=0)
        factor = (smoothed[scale] + c.leeway * s) / (shown + c.leeway * s)
        factor = factor.clamp(max=c.most_factor)
        if scale in trusts:
            trust, half_trusted = trusts[scale]
            expected = c.trust_steepness * (math.log(half_trusted) - log_noise)
            factor = factor ** torch.sigmoid(expected + trust)
        r = (1 + r) * factor - 1
    return r


def expected_noise(
    y: Tensor, log_noise: Tensor, s: Tensor, constants: LocalActivityConstants = DEFAULTS
) -> Tensor:
    """Return the log noise that counts let expect at each voxel [i, j, k], centred as LOCAL_NOISE.

    It follows from the scan's own noise and from the activity: hot organs have less noise, relative
    to their activity. The scan's noise is that of its spectrum, but no more than the median of the
    local noise over the body, and no less than an eighth of it (`most_anatomy`): the spectrum of a
    scan that a filter or an interpolation has rid of its highest frequencies shows little.
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
    less = (s / few[body].median()).log_().mul_(c.noise_power).clamp_(min=-c.most_log_noise)
    return of_scan - less


# Root mean square of white noise of 1 after second differences along all three axes, and after
# these once more: the sums of squares of (-¼, ½, -¼) and of its convolution with itself, cubed.
_WHITE_SECOND, _WHITE_FOURTH = (6 / 16) ** 1.5, (70 / 256) ** 1.5
# And of what a Gaussian of width 1 takes away from it.
_WHITE_FINE = math.sqrt(1 - 2 / (2 * math.pi) ** 1.5 + 1 / (4 * math.pi) ** 1.5)


def spectral_noise(
    y: Tensor, s: Tensor, constants: LocalActivityConstants = DEFAULTS
) -> Tensor | None:
    """Return the standard deviation of the fine noise of y / s, a scalar, from its spectrum.

    Anatomy fades towards the highest frequencies much faster than noise. Where all three axes are
    differenced twice, a scan has hardly anything but noise, and twice more even less. How much
    smaller the second band is than the first shows how the noise is coloured, and so how much of it
    there is at the lower frequencies where anatomy hides it: with q the ratio of the bands over
    that of white noise, what white noise with this first band would have, times
    exp(colour · (log q)^colour_power).

    y, s  the scan and its local activity [i, j, k]

    Returns None for a scan too thin for a window, or with no window in the body.
    """
    side = constants.noise_window
    if min(y.shape) < side + 4:
        return None
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
    """Return the standard deviation of the ratio's finest noise, of LOCAL_ or EXPECTED_NOISE."""
    return (log_noise + constants.log_noise_centre).exp()


def _differenced_twice(x: Tensor) -> Tensor:
    """Return x [i, j, k] filtered by (-¼, ½, -¼) along every axis, which lose two voxels each."""
    for axis, n in enumerate(x.shape):
        sides = x.narrow(axis, 0, n - 2) + x.narrow(axis, 2, n - 2)
        x = x.narrow(axis, 1, n - 2) / 2 - sides / 4
    return x
