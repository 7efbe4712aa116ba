"""Keep the activity that a scan measured well, whatever a network makes of its distribution.

Over a few voxels a scan's activity is measured well, even at a low dose: what a network knows
better is how it is distributed among them. How few depends on the expected noise and on how far it
reaches, of which the network's trust is the measure. So x = s (1 + r) is scaled, pass by pass,
until it shows, smoothed, the activity of the smoothed scan:

    x ← x · ((scan₊ + leeway) / (x₊ + leeway)) ^ share,    ₊ both smoothed at the scale of the pass

where the share is 1 at the scale `near` and a sigmoid of trust less noise at the two finer ones.
Negative values of the scan count, as noise would add activity without them; only what is left of
them after smoothing is cut. r below −1 counts as −1: scaling what has both signs has no bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from petdiff.methods.local_activity_constants import LocalActivityConstants, Scale
from petdiff.volume.filters import PlaneGaussian, gaussian_smooth
from petdiff.volume.planes import Window, parts_of

# Of the trusts that a denoiser answers, that of each scale; `near` has none.
_TRUST: dict[Scale, int] = {"fine": 0, "finest": 1}


def keep_activity(
    answer: Sequence[Tensor],
    s: Tensor,
    scan: Tensor,
    log_noise: Tensor,
    constants: LocalActivityConstants,
) -> Tensor:
    """Return r of whole volumes [..., i, j, k] with the scan's own regional activity.

    answer     a tensor for each AnswerChannel: r, and the trusts as log odds over what the noise
               lets expect
    s          the scan's local activity
    scan       the measured scan
    log_noise  the scan's EXPECTED_NOISE
    """
    r, *trusts = answer
    x = r.clamp(min=-1).add_(1).mul_(s)
    for scale in constants.passes:
        shown, measured = (gaussian_smooth(v, constants.width(scale)) for v in (x, scan))
        trust = trusts[_TRUST[scale]] if scale in _TRUST else None
        x = x * _factor(scale, shown, measured, s, trust, log_noise, constants)
    return x.div_(s).sub_(1)


def _factor(
    scale: Scale,
    shown: Tensor,
    measured: Tensor,
    s: Tensor,
    trust: Tensor | None,
    log_noise: Tensor,
    constants: LocalActivityConstants,
) -> Tensor:
    """Return what a pass multiplies x by; `shown` and `measured` are x and the scan, smoothed."""
    c = constants
    leeway = c.leeway * s
    factor = (measured.clamp(min=0) + leeway) / (shown.clamp(min=0) + leeway)
    factor = factor.clamp(max=c.most_factor)
    if trust is None:
        return factor
    half_trusted = {"fine": c.half_trusted_noise_fine, "finest": c.half_trusted_noise_finest}[scale]
    expected = math.log(half_trusted) - c.log_noise_centre - log_noise.float()
    power: Tensor = factor ** torch.sigmoid(c.trust_steepness * expected + trust)
    return power


class ActivityKeeper:
    """Does what `keep_activity` does, to an answer that arrives part by part along k.

    A pass answers for planes as soon as those within its Gaussian's reach have arrived, so that no
    pass holds a volume. Arguments are those of `keep_activity` for one volume [i, j, k].

    log_noise  EXPECTED_NOISE of a range of planes
    """

    def __init__(
        self,
        s: Tensor,
        scan: Tensor,
        log_noise: Callable[[slice], Tensor],
        constants: LocalActivityConstants,
    ) -> None:
        self.s, self.log_noise, self.constants = s, log_noise, constants
        self._trusts = Window()
        self._measured = {
            scale: _SmoothedScan(scan, constants.width(scale)) for scale in set(constants.passes)
        }

    def __call__(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield r [i, j, n] of an answer's consecutive parts [c, i, j, n]."""
        passed = self._activity(parts)
        for scale in self.constants.passes:
            passed = self._pass(passed, scale)
        done = 0
        for x in passed:
            planes = slice(done, done + x.shape[-1])
            yield x.div_(self.s[..., planes]).sub_(1)
            done = planes.stop
            for window in (self._trusts, *self._measured.values()):
                window.drop(done)

    def _activity(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield x of the parts, and keep their trusts for the passes."""
        for part in parts:
            s = self.s[..., self._trusts.stop : self._trusts.stop + part.shape[-1]]
            self._trusts.add(part[1:])
            yield part[0].clamp(min=-1).add_(1).mul_(s)

    def _pass(self, parts: Iterable[Tensor], scale: Scale) -> Iterator[Tensor]:
        """Yield x after one pass."""
        gaussian = PlaneGaussian(self.s, self.constants.width(scale))
        arrived, done = Window(), 0
        for part in parts:
            arrived.add(part)
            at_end = arrived.stop == gaussian.length
            ready = arrived.stop if at_end else max(arrived.stop - gaussian.reach, done)
            for planes in parts_of(slice(done, ready), gaussian.most):
                shown = gaussian(arrived[gaussian.reads(planes)], planes)
                yield arrived[planes] * self._factor(scale, shown, planes)
            done = ready
            arrived.drop(done - gaussian.reach)

    def _factor(self, scale: Scale, shown: Tensor, planes: slice) -> Tensor:
        trust = self._trusts[planes][_TRUST[scale]] if scale in _TRUST else None
        measured, s = self._measured[scale][planes], self.s[..., planes]
        return _factor(scale, shown, measured, s, trust, self.log_noise(planes), self.constants)


class _SmoothedScan(Window):
    """A scan's smoothed planes, computed when they are first asked for."""

    def __init__(self, scan: Tensor, sigma: float) -> None:
        super().__init__()
        self._scan, self._gaussian = scan, PlaneGaussian(scan, sigma)

    def __getitem__(self, planes: slice) -> Tensor:
        """Return smoothed planes by their numbers in the volume."""
        gaussian = self._gaussian
        for part in parts_of(slice(self.stop, max(planes.stop, self.stop)), gaussian.most):
            self.add(gaussian(self._scan[..., gaussian.reads(part)], part).clone())
        return super().__getitem__(planes)
