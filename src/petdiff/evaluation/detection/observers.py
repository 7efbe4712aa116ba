"""A channelised Hotelling observer: the best linear classifier of lesion present or absent.

Its inputs are the outputs of a few channels, as a model of human vision (Myers & Barrett 1987). It
has no internal noise, and is tested on other patients than it is trained on. The location of the
lesion is known: this measures detectability without search (with search: froc.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import eval_genlaguerre
from scipy.stats import rankdata

from petdiff.errors import UsageError

Values = NDArray[np.float64]


def laguerre_gauss(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    width_mm: float,
    count: int = 5,
    centre: Sequence[float] | None = None,
) -> Values:
    """Return Laguerre–Gauss channels [count, voxel] of a patch of 2 or 3 dimensions.

    centre    in voxels; default: the middle of the patch
    width_mm  a in the formula: about the width of the signal

    Channel n is exp(-πr²/a²) L_n^(D/2 - 1)(2πr²/a²), normalised to unit norm: rotationally
    symmetric functions that are orthogonal in D dimensions (Gallas & Barrett 2003 for D = 2).
    """
    r2 = sum(np.square(at) for at in _offsets(shape, spacing_mm, centre))
    x = 2 * np.pi * np.asarray(r2).ravel() / width_mm**2
    channels = [np.exp(-x / 2) * eval_genlaguerre(n, len(shape) / 2 - 1, x) for n in range(count)]
    return np.asarray(channels / np.linalg.norm(channels, axis=1, keepdims=True))


def cross_validated(
    present: Values, absent: Values, groups: Sequence[str]
) -> tuple[Values, Values]:
    """Return scores of channel outputs [image, channel], each by the template of other groups.

    groups  group (patient) of each pair of images; a group is left out as a whole

    Raises UsageError if the other groups have too few images.
    """
    group_of = np.asarray(groups)
    scores = np.empty((2, len(group_of)))
    for group in np.unique(group_of):
        own = group_of == group
        template = hotelling_template(present[~own], absent[~own])
        scores[0, own], scores[1, own] = present[own] @ template, absent[own] @ template
    return scores[0], scores[1]


def hotelling_template(present: Values, absent: Values) -> Values:
    """Return K⁻¹ Δv of channel outputs [image, channel]; K is the classes' mean covariance."""
    count = min(len(present), len(absent))
    if count <= present.shape[1]:
        raise UsageError(
            f"{count} images for {present.shape[1]} channels: give more images or fewer channels"
        )
    covariance = (np.cov(present, rowvar=False) + np.cov(absent, rowvar=False)) / 2
    delta = present.mean(axis=0) - absent.mean(axis=0)
    return np.asarray(np.linalg.solve(np.atleast_2d(covariance), delta))


def auc(present: ArrayLike, absent: ArrayLike) -> float:
    """Return the area under the ROC curve: P(present > absent) + P(equal) / 2."""
    a, b = np.asarray(present, float), np.asarray(absent, float)
    ranks = rankdata(np.concatenate([a, b]))[: len(a)]
    return float((ranks.sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def _offsets(
    shape: Sequence[int], spacing_mm: Sequence[float], centre: Sequence[float] | None = None
) -> list[Values]:
    """Return offsets in mm from `centre` (in voxels; default n // 2) along each axis."""
    at = [n // 2 for n in shape] if centre is None else centre
    axes = [(np.arange(n) - c) * mm for n, c, mm in zip(shape, at, spacing_mm, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))
