"""Activity preservation: the denoised scan has the measured activity of regions of a few voxels.

A scan measures the activity of a region of a few voxels well, even at a low dose. The network knows
better how the activity is distributed within the region. How small such regions can be depends on
the expected noise and on its correlation length; the network's trust is an estimate of the latter.
The estimate x = s (1 + r) is therefore scaled in several passes, until x and the scan agree after
smoothing:

    x ← x · ((scan₊ + offset) / (x₊ + offset)) ^ share,    ₊ both smoothed at the scale of the pass

The offset is `leeway` · s. The share is 1 at the scale `near`, and a sigmoid of trust minus log
noise at the two finer scales. Negative values of the scan are included in smoothing, because their
removal would add activity; values that are still negative after smoothing are set to 0. r is
limited to −1 or more, because factors on a volume with both signs have no bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from petdiff.methods.local_activity_constants import LocalActivityConstants, Scale
from petdiff.volume.filters import PlaneGaussian, gaussian_smooth
from petdiff.volume.planes import PlaneBuffer, parts_of

# Index of trust and share for each scale; at `near` the share is 1.
_SHARE: dict[Scale, int] = {"fine": 0, "finest": 1}


def preserve_activity(
    output: Sequence[Tensor],
    s: Tensor,
    scan: Tensor,
    log_noise: Tensor,
    constants: LocalActivityConstants,
) -> Tensor:
    """Return r of whole volumes [..., i, j, k] with the scan's own regional activity.

    output     a tensor for each OutputChannel: r, and the trusts as log odds relative to those
               expected from the noise
    s          the scan's local activity
    scan       the measured scan
    log_noise  the scan's EXPECTED_NOISE
    """
    r, *trusts = output
    x = r.clamp(min=-1).add_(1).mul_(s)
    shares = _shares(trusts, log_noise, constants)
    for scale in constants.passes:
        estimated, measured = (gaussian_smooth(v, constants.width(scale)) for v in (x, scan))
        x = x * _factor(scale, estimated, measured, s, shares, constants)
    return x.div_(s).sub_(1)


def _factor(
    scale: Scale,
    estimated: Tensor,
    measured: Tensor,
    s: Tensor,
    shares: Sequence[Tensor] | Tensor,
    constants: LocalActivityConstants,
) -> Tensor:
    """Return the factor of a pass; `estimated` and `measured` are x and the scan, smoothed."""
    offset = constants.leeway * s
    factor = (measured.clamp(min=0) + offset) / (estimated.clamp(min=0) + offset)
    factor = factor.clamp(max=constants.most_factor)
    return factor ** shares[_SHARE[scale]] if scale in _SHARE else factor


def _shares(
    trusts: Sequence[Tensor], log_noise: Tensor, constants: LocalActivityConstants
) -> list[Tensor]:
    """Return the shares of the passes at the two fine scales, in the order of the trusts."""
    c = constants
    halves = c.half_trusted_noise_fine, c.half_trusted_noise_finest
    found = []
    for trust, half in zip(trusts, halves, strict=True):
        expected = math.log(half) - c.log_noise_centre - log_noise.float()
        found.append(torch.sigmoid(c.trust_steepness * expected + trust))
    return found


class ActivityPreserver:
    """Computes `preserve_activity` for an output that arrives in parts along k.

    A pass processes planes as soon as all planes within the reach of its Gaussian have arrived, so
    that no pass stores a volume. Arguments are those of `preserve_activity` for one volume
    [i, j, k].

    log_noise  function that returns EXPECTED_NOISE of a range of planes
    """

    def __init__(
        self,
        s: Tensor,
        scan: Tensor,
        log_noise: Callable[[slice], Tensor],
        constants: LocalActivityConstants,
    ) -> None:
        self.s, self.log_noise, self.constants = s, log_noise, constants
        self._shares = PlaneBuffer()
        self._measured = {
            scale: _SmoothedScan(scan, constants.width(scale)) for scale in set(constants.passes)
        }

    def __call__(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield r [i, j, n] from consecutive parts [c, i, j, n] of a denoiser's output."""
        scaled = self._activity(parts)
        for scale in self.constants.passes:
            scaled = self._pass(scaled, scale)
        done = 0
        for x in scaled:
            planes = slice(done, done + x.shape[-1])
            yield x.div_(self.s[..., planes]).sub_(1)
            done = planes.stop
            for window in (self._shares, *self._measured.values()):
                window.drop(done)

    def _activity(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield x of the parts, and store their shares for the passes."""
        for part in parts:
            planes = slice(self._shares.stop, self._shares.stop + part.shape[-1])
            r, *trusts = part
            shares = _shares(trusts, self.log_noise(planes), self.constants)
            self._shares.add(torch.stack(shares))
            yield r.clamp(min=-1).add_(1).mul_(self.s[..., planes])

    def _pass(self, parts: Iterable[Tensor], scale: Scale) -> Iterator[Tensor]:
        """Yield x after one pass."""
        gaussian = PlaneGaussian(self.s, [self.constants.width(scale)] * 3)
        arrived, done = PlaneBuffer(), 0
        for part in parts:
            arrived.add(part)
            at_end = arrived.stop == gaussian.length
            ready = arrived.stop if at_end else max(arrived.stop - gaussian.reach, done)
            for planes in parts_of(slice(done, ready), gaussian.most):
                estimated = gaussian(arrived[gaussian.reads(planes)], planes)
                yield arrived[planes] * self._factor(scale, estimated, planes)
            done = ready
            arrived.drop(done - gaussian.reach)

    def _factor(self, scale: Scale, estimated: Tensor, planes: slice) -> Tensor:
        measured, shares = self._measured[scale][planes], self._shares[planes]
        return _factor(scale, estimated, measured, self.s[..., planes], shares, self.constants)


class _SmoothedScan(PlaneBuffer):
    """The smoothed planes of a scan, computed at their first use."""

    def __init__(self, scan: Tensor, sigma: float) -> None:
        super().__init__()
        self._scan, self._gaussian = scan, PlaneGaussian(scan, [sigma] * 3)

    def __getitem__(self, planes: slice) -> Tensor:
        """Return smoothed planes by their numbers in the volume."""
        gaussian = self._gaussian
        for part in parts_of(slice(self.stop, max(planes.stop, self.stop)), gaussian.most):
            self.add(gaussian(self._scan[..., gaussian.reads(part)], part).clone())
        return super().__getitem__(planes)
