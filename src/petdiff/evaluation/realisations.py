"""Bias and variance of a method over noise realisations of one simulated patient.

One image cannot separate bias (in every scan) from noise (different in every scan). Images are
added one at a time to a running mean and variance (Welford 1962), so that they need not be stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import UsageError
from petdiff.volume.regions import Volume

Labels = NDArray[np.integer]


@dataclass(frozen=True)
class RegionError:
    """Bias and noise of one region, relative to its true mean SUV; 0.05 is 5 %.

    bias            of the mean over realisations, with its standard error
    repeatability   standard deviation of the region's mean over realisations
    cov             standard deviation over voxels of one image, over the region's mean; averaged
                    over realisations; contains structure and noise
    ensemble_noise  standard deviation of each voxel over realisations, as root mean square over
                    voxels; contains noise only
    voxel_bias      bias of each voxel, as root mean square over voxels; corrected for the finite
                    number of realisations
    """

    name: str
    voxels: int
    true_suv: float
    bias: float
    bias_error: float
    repeatability: float
    cov: float
    ensemble_noise: float
    voxel_bias: float


@dataclass(frozen=True, eq=False)
class BiasAndVariance:
    """Maps in SUV [i, j, k] over `count` realisations, and the regions' figures.

    bias      mean over realisations minus the truth
    variance  over realisations, unbiased (n - 1), SUV²
    """

    count: int
    bias: Volume
    variance: Volume
    regions: list[RegionError] = field(default_factory=list)


class Ensemble:
    """Running mean and variance of images, in float64 and without cancellation."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: NDArray[np.float64] | None = None
        self._squares: NDArray[np.float64] | None = None

    def add(self, image: Volume) -> None:
        """Add an image; raises UsageError for one of another shape."""
        if self._mean is None or self._squares is None:
            self._mean = np.zeros(image.shape)
            self._squares = np.zeros(image.shape)
        if image.shape != self._mean.shape:
            raise UsageError(f"a realisation of shape {image.shape} among {self._mean.shape}")
        self.count += 1
        difference = image - self._mean
        self._mean += difference / self.count
        self._squares += difference * (image - self._mean)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean; raises UsageError if no image was added."""
        if self._mean is None:
            raise UsageError("no realisation: a mean needs at least one")
        return self._mean

    def variance(self) -> NDArray[np.float64]:
        """Return the unbiased variance; raises UsageError for fewer than two images."""
        if self._squares is None or self.count < 2:
            raise UsageError(f"{self.count} realisation: a variance needs at least two")
        return self._squares / (self.count - 1)


def bias_and_variance(
    images: Iterable[Volume], truth: Volume, labels: Labels, names: Mapping[int, str]
) -> BiasAndVariance:
    """Measure bias and variance of a method's images of one patient against the truth.

    images  20 or more in SUV [i, j, k], which differ only in noise; read one after the other
    truth   the true activity in SUV [i, j, k]
    labels  regions [i, j, k]; label 0 and regions without uptake are left out
    names   of the labels

    Raises UsageError for fewer than two images, and for one of another shape.
    """
    ensemble = Ensemble()
    means, spreads = [], []  # [realisation][label]
    flat = labels.ravel()
    voxels = np.bincount(flat)
    for image in images:
        ensemble.add(image)
        mean, spread = _by_label(image, flat, voxels)
        means.append(mean)
        spreads.append(spread)
    bias, variance = ensemble.mean() - truth, ensemble.variance()
    true, _ = _by_label(truth, flat, voxels)
    mean, deviation = np.mean(means, axis=0), np.std(means, axis=0, ddof=1)
    noise_power, _ = _by_label(variance, flat, voxels)
    bias_power, _ = _by_label(bias**2, flat, voxels)
    regions = [
        RegionError(
            name=names.get(int(n), f"label {n}"),
            voxels=int(voxels[n]),
            true_suv=float(true[n]),
            bias=float(mean[n] / true[n] - 1),
            bias_error=float(deviation[n] / np.sqrt(len(means)) / true[n]),
            repeatability=float(deviation[n] / true[n]),
            cov=float(np.mean([s[n] / m[n] for s, m in zip(spreads, means, strict=True)])),
            ensemble_noise=float(np.sqrt(noise_power[n]) / true[n]),
            # The mean of n images has noise of power variance / n.
            voxel_bias=float(
                np.sqrt(max(bias_power[n] - noise_power[n] / len(means), 0)) / true[n]
            ),
        )
        for n in np.flatnonzero(voxels)
        if n and true[n] > 0
    ]
    return BiasAndVariance(
        ensemble.count, bias.astype(np.float32), variance.astype(np.float32), regions
    )


def _by_label(
    image: NDArray[np.floating], flat: Labels, voxels: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation over the voxels of each label; empty labels give 0."""
    values = image.ravel().astype(np.float64)
    n = np.maximum(voxels, 1)
    mean = np.bincount(flat, values, len(voxels)) / n
    square = np.bincount(flat, np.square(values - mean[flat]), len(voxels)) / n
    return mean, np.sqrt(square)
