"""A channelised Hotelling observer: how well the best linear reader tells a lesion from none.

The reader sees an image only through a few channels, much as the eye does (Myers & Barrett 1987),
adds no noise of its own, learns on one half of the images and is tested on the other. The location
is known, so this measures what a lesion has left to be seen by, not the search for it (froc.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import eval_genlaguerre, ndtr
from scipy.stats import rankdata

from petdiff.errors import UsageError
from petdiff.evaluation.statistics import Interval

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Observed:
    """auc with its bootstrap interval, snr = Δmean/σ of the scores, and the scores of the tests."""

    auc: Interval
    snr: float
    present: Values
    absent: Values


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


def difference_of_gaussians(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    lowest_per_mm: float = 0.005,
    step: float = 1.4,
    width: float = 1.67,
    count: int = 10,
) -> Values:
    """Return difference-of-Gaussian channels [count, voxel] (Abbey & Barrett 2001, eq. 26).

    Over frequency ρ: exp(-(ρ/Qσ_j)²/2) - exp(-(ρ/σ_j)²/2), σ_j = lowest·step^j, Q = width. Given
    here in space, where each Gaussian is one again; each of unit norm.
    """
    dimensions = len(shape)
    r2 = np.asarray(sum(np.square(at) for at in _away(shape, spacing_mm))).ravel()

    def bell(sigma_per_mm: float) -> Values:
        return np.asarray(sigma_per_mm**dimensions * np.exp(-2 * np.pi**2 * sigma_per_mm**2 * r2))

    sigmas = lowest_per_mm * step ** np.arange(1, count + 1)
    return _unit(np.array([bell(width * sigma) - bell(sigma) for sigma in sigmas]))


def observe(
    present: ArrayLike,
    absent: ArrayLike,
    channels: Values,
    *,
    generator: np.random.Generator,
    resamples: int = 1000,
) -> Observed:
    """Learn a template on the first half of either set of patches [image, …], test on the second.

    Shuffle images beforehand where their order means something; keep one patient's in one half.
    Raises UsageError for fewer images to learn from than there are channels to weigh.
    """
    seen = [_seen(images, channels) for images in (present, absent)]
    template = hotelling_template(*(v[: len(v) // 2] for v in seen))
    with_lesion, without = (v[len(v) // 2 :] @ template for v in seen)
    return Observed(
        auc_interval(with_lesion, without, generator=generator, resamples=resamples),
        _separation(with_lesion, without),
        with_lesion,
        without,
    )


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


def hotelling_snr(signal: ArrayLike, covariance: ArrayLike, channels: Values) -> float:
    """Return √(Δv' K⁻¹ Δv) of a known signal in noise of known covariance [voxel, voxel]."""
    delta = channels @ np.ravel(np.asarray(signal, float))
    noise = channels @ np.asarray(covariance, float) @ channels.T
    return float(np.sqrt(delta @ np.linalg.solve(noise, delta)))


def auc_of_snr(snr: float) -> float:
    """Return Φ(SNR/√2): area under the ROC curve of normal scores of equal variance."""
    return float(ndtr(snr / np.sqrt(2)))


def auc(present: ArrayLike, absent: ArrayLike) -> float:
    """Return the chance that a score with lesion exceeds one without; ties count half."""
    a, b = np.asarray(present, float), np.asarray(absent, float)
    ranks = rankdata(np.concatenate([a, b]))[: len(a)]
    return float((ranks.sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def auc_interval(
    present: ArrayLike,
    absent: ArrayLike,
    *,
    generator: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Return the AUC with a percentile bootstrap interval; images are drawn within a class."""
    a, b = np.asarray(present, float), np.asarray(absent, float)
    drawn = [
        auc(generator.choice(a, len(a)), generator.choice(b, len(b))) for _ in range(resamples)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(auc(a, b), float(low), float(high))


def patches(
    suv: NDArray[np.float32], affine: Values, centres_mm: ArrayLike, shape: tuple[int, int, int]
) -> Values:
    """Return patches [n, i, j, k] whose middle voxel is nearest to each centre in mm, RAS+.

    Raises UsageError where one would reach past the image.
    """
    centres = np.atleast_2d(np.asarray(centres_mm, float))
    voxels = np.rint((centres - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    start = voxels - np.array(shape) // 2
    outside = np.any((start < 0) | (start + shape > suv.shape), axis=1)
    if outside.any():
        raise UsageError(
            f"a patch of {shape} voxels about {centres[outside][0].round(1).tolist()} mm reaches "
            "past the image: leave that lesion out, or take smaller patches"
        )
    return np.stack(
        [suv[tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True))] for at in start]
    ).astype(float)


def _seen(images: ArrayLike, channels: Values) -> Values:
    flat = np.asarray(images, float)
    return np.asarray(flat.reshape(len(flat), -1) @ channels.T)


def _separation(present: Values, absent: Values) -> float:
    spread = np.sqrt((present.var(ddof=1) + absent.var(ddof=1)) / 2)
    return float((present.mean() - absent.mean()) / spread)


def _away(
    shape: Sequence[int], spacing_mm: Sequence[float], centre: Sequence[float] | None = None
) -> list[Values]:
    """Return distances in mm from `centre` in voxels (n // 2) along each axis, to broadcast."""
    at = [n // 2 for n in shape] if centre is None else centre
    axes = [(np.arange(n) - c) * mm for n, c, mm in zip(shape, at, spacing_mm, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _unit(channels: Values) -> Values:
    return np.asarray(channels / np.linalg.norm(channels, axis=1, keepdims=True))
