"""A channelised Hotelling observer: how well the best linear reader tells a lesion from none.

The reader sees an image only through a few channels, much as the eye does (Myers & Barrett 1987),
adds no noise of its own, and is tested on patients that it has not learnt from. The location is
known, so this measures what a lesion has left to be seen by, not the search for it (froc.py).
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

    About `centre`, in voxels, or about the patch's middle.

    exp(-πr²/a²) L_n^(D/2 - 1)(2πr²/a²), the round functions that are orthogonal in D dimensions
    (Gallas & Barrett 2003 for D = 2); each of unit norm. a = width_mm: about the signal's width.
    """
    r2 = sum(np.square(at) for at in _away(shape, spacing_mm, centre))
    x = 2 * np.pi * np.asarray(r2).ravel() / width_mm**2
    channels = [np.exp(-x / 2) * eval_genlaguerre(n, len(shape) / 2 - 1, x) for n in range(count)]
    return _unit(np.array(channels))


def cross_validated(
    present: Values, absent: Values, groups: Sequence[str]
) -> tuple[Values, Values]:
    """Return scores of channel outputs [image, channel], each by a template of other groups.

    groups  whose each pair of images is: a patient's are left out together

    Raises UsageError where the others are too few to learn from.
    """
    whose = np.asarray(groups)
    scores = np.empty((2, len(whose)))
    for group in np.unique(whose):
        own = whose == group
        template = hotelling_template(present[~own], absent[~own])
        scores[0, own], scores[1, own] = present[own] @ template, absent[own] @ template
    return scores[0], scores[1]


def hotelling_template(present: Values, absent: Values) -> Values:
    """Return K⁻¹ Δv of channel outputs [image, channel]; K is the classes' mean covariance."""
    fewest = min(len(present), len(absent))
    if fewest <= present.shape[1]:
        raise UsageError(
            f"{fewest} images for {present.shape[1]} channels: give more images or fewer channels"
        )
    covariance = (np.cov(present, rowvar=False) + np.cov(absent, rowvar=False)) / 2
    delta = present.mean(axis=0) - absent.mean(axis=0)
    return np.asarray(np.linalg.solve(np.atleast_2d(covariance), delta))


def auc(present: ArrayLike, absent: ArrayLike) -> float:
    """Return the chance that a score with lesion exceeds one without; ties count half."""
    a, b = np.asarray(present, float), np.asarray(absent, float)
    ranks = rankdata(np.concatenate([a, b]))[: len(a)]
    return float((ranks.sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def _away(
    shape: Sequence[int], spacing_mm: Sequence[float], centre: Sequence[float] | None = None
) -> list[Values]:
    """Return distances in mm from `centre` in voxels (n // 2) along each axis, to broadcast."""
    at = [n // 2 for n in shape] if centre is None else centre
    axes = [(np.arange(n) - c) * mm for n, c, mm in zip(shape, at, spacing_mm, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _unit(channels: Values) -> Values:
    return np.asarray(channels / np.linalg.norm(channels, axis=1, keepdims=True))
