"""How the methods of the local-activity domain are trained: examples, noise, and the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from petdiff.methods.local_activity import ScanChannel, channel

# Of the training patches, those whose dose the network is given.
_KNOWN_DOSE_SHARE = 0.5
_MAX_WEIGHT = 10.0
_LEAST_NOISE_POWER = 1e-5
_STRUCTURE_ERROR = 0.05  # mean squared error in r that remains however noisy a scan is, roughly


class Example(NamedTuple):
    """A batch of training examples, all [b, c, i, j, k].

    r         ratio of the full-dose scan
    fields    of the low-dose scan, a channel for each ScanChannel
    activity  of the low-dose scan, over its mean
    """

    r: Tensor
    fields: Tensor
    activity: Tensor


def noisy(r: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Return r + sigma · unit noise, for r [b, 1, i, j, k] and sigma [b]."""
    noise = torch.randn(r.shape, generator=generator).to(r)
    return r + sigma.view(-1, 1, 1, 1, 1) * noise


def split_example(batch: Tensor) -> Example:
    """Return the parts of a batch of what `example` gives."""
    return Example(*torch.split(batch, [1, len(ScanChannel), 1], dim=1))


def some_doses_unknown(example: Example, generator: torch.Generator) -> Example:
    """Hide the dose of some examples, so that the network learns to do with and without it."""
    fields = example.fields
    known = torch.rand(len(fields), generator=generator) < _KNOWN_DOSE_SHARE
    lacking = channel(fields, ScanChannel.LACKING_COUNTS) * known.to(fields).view(-1, 1, 1, 1, 1)
    others = fields.narrow(1, 0, ScanChannel.LACKING_COUNTS)
    return example._replace(fields=torch.cat([others, lacking], dim=1))


def error_loss(example: Example, answer: Tensor, sigma: Tensor) -> Tensor:
    """Return the loss of an answer r [b, 1, i, j, k] given at noise levels sigma [b], a scalar.

    A voxel's weight is its activity, between absolute and relative error, in one half of the
    loss, and its square, so absolute error as PSNR has it, in the other.

    Each patch is divided by about the error that a good answer leaves, which is bounded by the
    scan's noise power, by σ², and by how well structure can be known: so every dose and σ
    counts. The logarithm, as decibels do, keeps one hopeless patch from outweighing the rest.
    """
    activity = example.activity
    error = (answer - example.r).square()
    noise_power = (channel(example.fields, ScanChannel.RATIO) - example.r).square()
    elsewhere = 1 / _STRUCTURE_ERROR + 1 / sigma.square()

    def over_what_a_good_answer_leaves(weight: Tensor) -> Tensor:
        error_left, noise = ((weight * each).mean((1, 2, 3, 4)) for each in (error, noise_power))
        scale = weight.mean((1, 2, 3, 4))
        left = 1 / (noise / scale + _LEAST_NOISE_POWER) + elsewhere
        return (error_left / scale * left).log1p()

    between = over_what_a_good_answer_leaves(activity.clamp(max=_MAX_WEIGHT))
    absolute = over_what_a_good_answer_leaves(activity.square())
    return (between + absolute).mean() / 2
