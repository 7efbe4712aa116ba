"""Texture: noise power spectrum, and three grey level features."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from petdiff.volume.regions import Spacing, label_boxes

FloatArray = NDArray[np.floating]

CUBE_MM = 25.0
GREY_LEVEL_SUV = 0.25  # bin width
# Half of the 26 neighbours: the other half gives the same pairs.
_DIRECTIONS = [d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]


@dataclass(frozen=True, eq=False)
class NoisePower:
    """A noise power spectrum by spatial frequency, averaged over directions.

    frequency_per_mm  mean frequency of each shell [shell]
    power             mean power of each shell in SUV²·mm³ [shell]
    shell_per_mm3     volume of each shell in frequency space: Σ power · shell is the variance
    """

    frequency_per_mm: NDArray[np.float64]
    power: NDArray[np.float64]
    shell_per_mm3: NDArray[np.float64]

    @property
    def variance(self) -> float:
        """Variance in SUV² of the values that the spectrum was computed from."""
        return float((self.power * self.shell_per_mm3).sum())

    @property
    def mean_frequency_per_mm(self) -> float:
        """Mean frequency of the noise power: high for fine noise, low for coarse noise."""
        weights = self.power * self.shell_per_mm3
        return float((self.frequency_per_mm * weights).sum() / weights.sum())


def noise_power(cubes: FloatArray, spacing_mm: Spacing) -> NoisePower:
    """Return the noise power spectrum of cubes [n, i, j, k] of a scan.

    NPS(f) = voxel volume / voxels · ⟨|DFT(cube - mean)|²⟩ (Siewerdsen 2002, in 3-D). Its integral
    over frequency is the variance within a cube. For two scans that differ only in noise, give the
    cubes of their difference divided by √2.
    """
    _, *shape = cubes.shape
    values = cubes - cubes.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
    squares = np.square(np.abs(np.fft.fftn(values, axes=(1, 2, 3)))).mean(axis=0)
    spectrum = squares * np.prod(spacing_mm) / np.prod(shape)
    axes = [np.fft.fftfreq(n, size) for n, size in zip(shape, spacing_mm, strict=True)]
    distance = np.sqrt(sum(np.square(f) for f in np.meshgrid(*axes, indexing="ij")))
    steps = [1 / (n * size) for n, size in zip(shape, spacing_mm, strict=True)]
    shell = np.rint(distance / max(steps)).astype(int).ravel()
    counts = np.bincount(shell).astype(np.float64)
    filled = counts > 0
    mean = [np.bincount(shell, v.ravel())[filled] / counts[filled] for v in (distance, spectrum)]
    return NoisePower(mean[0], mean[1], counts[filled] * np.prod(steps))


def spectral_distance(reference: NoisePower, test: NoisePower) -> tuple[float, float]:
    """Return two distances of a noise power spectrum from a reference's.

    First: ∫|NPS_test - NPS_reference| over the reference's variance; 0 for equal noise, 1 for a
    test without noise. Second, of the shape only: half the integral of the absolute difference of
    the two spectra, each divided by its variance; from 0 (same texture, any strength) to 1 (no
    common frequency). Both spectra must be of cubes of one size.
    """
    shell = reference.shell_per_mm3
    whole = np.abs(test.power - reference.power) @ shell / reference.variance
    if test.variance == 0:
        return float(whole), 1.0
    shares = test.power / test.variance - reference.power / reference.variance
    return float(whole), float(np.abs(shares) @ shell / 2)


def cubes_within(
    mask: NDArray[np.bool_], spacing_mm: Spacing, side_mm: float = CUBE_MM
) -> list[tuple[slice, slice, slice]]:
    """Return cubes of about `side_mm` that are completely in a region, half a side apart."""
    sides = [max(round(side_mm / size), 2) for size in spacing_mm]
    starts = [range(0, n - side + 1, side // 2) for n, side in zip(mask.shape, sides, strict=True)]
    placed = (
        tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        for corner in product(*starts)
    )
    return [(a, b, c) for a, b, c in placed if mask[a, b, c].all()]


def grey_level_features(values: FloatArray, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Return joint average, high grey level run emphasis and zone percentage of a region.

    As the Image Biomarker Standardisation Initiative defines them (60VM, G3QZ, P30P), in 3-D, the
    first two averaged over 13 directions. Grey levels are bins of 0.25 SUV from 0 up.
    """
    levels = np.floor(np.maximum(values, 0) / GREY_LEVEL_SUV).astype(np.int64) + 1
    return levelled_features(np.where(mask, levels, 0))


def levelled_features(levels: NDArray[np.int64]) -> dict[str, float]:
    """Return these features of a volume of grey levels of 1 or more; 0 outside the region."""
    padded = np.pad(levels, 1)
    inner = (slice(1, -1),) * 3
    here = padded[inner]
    averages, emphases = [], []
    for direction in _DIRECTIONS:
        before = np.roll(padded, direction, axis=(0, 1, 2))[inner]
        pairs = (here > 0) & (before > 0)
        if pairs.any():  # each pair counts in both directions
            averages.append(float((here[pairs] + before[pairs]).mean()) / 2)
        # A run starts at a voxel whose level differs from the voxel before.
        starts = here[(here > 0) & (here != before)].astype(np.float64)
        emphases.append(float(np.square(starts).mean()))
    touching = np.ones((3, 3, 3))
    boxes = label_boxes(levels)
    zones = sum(label(levels[b] == n, structure=touching)[1] for n, b in boxes.items())
    return {
        "joint_average": float(np.mean(averages)) if averages else float(here.max()),
        "high_grey_level_run_emphasis": float(np.mean(emphases)),
        "zone_percentage": zones / int((levels > 0).sum()),
    }
