"""Training of the methods of the local-activity domain: examples, noise and the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from petdiff.methods.local_activity import ScanChannel, channel
from petdiff.volume.filters import gaussian_smooth

# Share of the training patches for which the dose is an input of the network.
_KNOWN_DOSE_SHARE = 0.5
_MAX_WEIGHT = 10.0
_LEAST_NOISE_POWER = 1e-5
_STRUCTURE_ERROR = 0.05  # approximate bound of the mean squared error in r, for very noisy scans
_CONTRAST_WIDTH = 1.0  # of the Gaussian that removes noise from the contrast of small structures
_MAX_CONTRAST = 3.0
_LEAST_CONTRAST = 0.02  # where there is no hot structure, so that no patch is without weight


class Example(NamedTuple):
    """A batch of training examples, all [b, c, i, j, k].

    r         ratio of the full-dose scan
    fields    of the low-dose scan, a channel for each ScanChannel
    activity  local activity of the low-dose scan, over its mean
    """

    r: Tensor
    fields: Tensor
    activity: Tensor


def noisy(r: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Return r + sigma · unit noise, for r [b, 1, i, j, k] and sigma [b]."""
    noise = torch.randn(r.shape, generator=generator).to(r)
    return r + sigma.view(-1, 1, 1, 1, 1) * noise


def split_example(batch: Tensor) -> Example:
    """Split a batch of what the method's `example` returns into its parts."""
    return Example(*torch.split(batch, [1, len(ScanChannel), 1], dim=1))


def some_doses_unknown(example: Example, generator: torch.Generator) -> Example:
    """Remove the dose from some examples, so that the network learns to work without it."""
    fields = example.fields
    known = torch.rand(len(fields), generator=generator) < _KNOWN_DOSE_SHARE
    lacking = channel(fields, ScanChannel.LACKING_COUNTS) * known.to(fields).view(-1, 1, 1, 1, 1)
    others = fields.narrow(1, 0, ScanChannel.LACKING_COUNTS)
    return example._replace(fields=torch.cat([others, lacking], dim=1))


def error_loss(example: Example, estimate: Tensor, sigma: Tensor) -> Tensor:
    """Return the loss of an estimate of r [b, 1, i, j, k] at noise levels sigma [b], a scalar.

    The loss is the mean of three weighted squared errors of r. One weights a voxel by its activity,
    a compromise between absolute and relative error. The second weights it by the square of its
    activity, which is the absolute error, as in PSNR. The third weights the absolute error by the
    local contrast of the full-dose scan, so that small hot structures such as lesions and ribs
    count (lab book 32).

    The error of each patch is divided by about the error of a good estimate, so that all doses and
    σ contribute. This error is bounded by the scan's noise power, by σ², and by the variance of
    structure. The logarithm prevents that a single very difficult patch dominates the loss.
    """
    activity = example.activity
    error = (estimate - example.r).square()
    noise_power = (channel(example.fields, ScanChannel.RATIO) - example.r).square()
    other_bounds = 1 / _STRUCTURE_ERROR + 1 / sigma.square()

    def over_error_of_good_estimate(weight: Tensor) -> Tensor:
        mean_error, noise = ((weight * each).mean((1, 2, 3, 4)) for each in (error, noise_power))
        scale = weight.mean((1, 2, 3, 4))
        inverse = 1 / (noise / scale + _LEAST_NOISE_POWER) + other_bounds
        return (mean_error / scale * inverse).log1p()

    intermediate = over_error_of_good_estimate(activity.clamp(max=_MAX_WEIGHT))
    absolute = over_error_of_good_estimate(activity.square())
    contrast = gaussian_smooth(example.r.float(), _CONTRAST_WIDTH).clamp(0, _MAX_CONTRAST)
    of_structures = over_error_of_good_estimate(activity.square() * (contrast + _LEAST_CONTRAST))
    return (intermediate + absolute + of_structures).mean() / 3
