"""The expected relative noise of each voxel of a scan, from the counts of the lines through it.

A line of response that crosses a length L of tissue has the attenuation factor c = exp(-µL). With
time of flight, the position of an event on the line is known within some centimetres: in this part
the line has n expected counts, with scattered and random ones. A voxel has two means over lines:

    sensitivity  s = ⟨c⟩
    information  F = ⟨c² / n⟩, of a time-of-flight scan the mean over the part of the line

After one iteration of a reconstruction the relative noise is √F / s. After many iterations it is
1 / (activity · √F). The formula used here is between them: its three powers were fitted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, rotate, zoom

from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.regions import Mask, Spacing, Volume, block_edges, block_means

# Relative noise ∝ activity^-0.30 · F^0.25 · s^-0.95, fitted on 500 organs of 20 simulated patients,
# five scanners and four tracers (lab book 24 and 35).
_ACTIVITY_POWER, _INFORMATION_POWER, _SENSITIVITY_POWER = -0.30, 0.25, -0.95
_WATER_PER_MM = 0.0096  # at 511 keV
_BLOCK_MM = 8.0
DIRECTIONS = 12
# Not of a particular scanner: FWHM of 30 and 80 mm gave the same powers and errors of organs.
TIME_OF_FLIGHT_SIGMA_MM = 45.0 / FWHM_PER_SIGMA
_SCATTER, _SCATTER_FWHM_MM = 0.6, 200.0  # relative to trues, and width of its distribution
_RANDOMS, _FIELD_MM = 0.45, 700.0  # relative to trues and scatter; uniform over this field


class Lines(NamedTuple):
    """Sensitivity [i, j, k], and information [direction, i, j, k] of lines, on pixels of 8 mm.

    Lines are within slices, whose axis is k; at an angle a of direction they run along
    (cos a, -sin a). The directions are evenly spaced from 0 to 180°.
    """

    sensitivity: NDArray[np.float64]
    information: NDArray[np.float64]


def expected_noise(activity: Volume, body: Mask, lines: Lines) -> Volume:
    """Return the relative noise of each voxel [i, j, k], with the median 1 over the body.

    activity  in any unit, above 0

    Source: Barrett, Wilson and Tsui, Phys Med Biol 1994, doi 10.1088/0031-9155/39/5/004.
    """
    information = lines.information.mean(axis=0)
    relative = activity ** np.float32(_ACTIVITY_POWER)
    relative *= _on_voxels(information**_INFORMATION_POWER, body.shape)
    relative *= _on_voxels(lines.sensitivity**_SENSITIVITY_POWER, body.shape)
    return np.asarray(relative / np.median(relative[body]), np.float32)


def measured_lines(activity: Volume, body: Mask, spacing_mm: Spacing) -> Lines:
    """Return sensitivity and information of the lines through a body that attenuates like water.

    activity  in any unit, 0 in air
    """
    tissue, uptake = (on_blocks(v, spacing_mm) for v in (body.astype(np.float32), activity))
    inside, side = _centred_in_square(tissue.shape)
    square = np.zeros((2, side, side, tissue.shape[2]))
    square[0][inside], square[1][inside] = tissue, uptake
    sigma = TIME_OF_FLIGHT_SIGMA_MM / _BLOCK_MM
    angles = np.arange(DIRECTIONS) * 180 / DIRECTIONS
    factors, trues = [], []  # attenuation factors and true counts: [along, line, k] by direction
    for angle in angles:
        lengths, activities = (_rotated(volume, angle).clip(min=0) for volume in square)
        factors.append(np.exp(-_WATER_PER_MM * _BLOCK_MM * lengths.sum(axis=0, keepdims=True)))
        trues.append(factors[-1] * gaussian_filter1d(activities, sigma, axis=0, mode="constant"))
    background = _scatter_and_randoms(np.mean(trues, axis=0))
    sensitivity, information = np.zeros(tissue.shape), np.empty((DIRECTIONS, *tissue.shape))
    for n, (angle, factor, counts) in enumerate(zip(angles, factors, trues, strict=True)):
        # The square of a Gaussian is narrower by √2.
        on_lines = gaussian_filter1d(factor**2 / (counts + background), sigma / np.sqrt(2), axis=0)
        information[n] = _rotated(on_lines, -angle, mode="nearest")[inside]
        everywhere = np.broadcast_to(factor, on_lines.shape)
        sensitivity += _rotated(everywhere, -angle, mode="nearest")[inside] / DIRECTIONS
    return Lines(sensitivity, information)


def _centred_in_square(shape: tuple[int, ...]) -> tuple[tuple[slice, slice], int]:
    """Return the place of a slice in the middle of a square that holds it at every angle.

    Its side is returned, too.
    """
    i, j, _ = shape
    side = int(np.ceil(np.hypot(i, j))) + 2
    first_i, first_j = (side - i) // 2, (side - j) // 2
    return (slice(first_i, first_i + i), slice(first_j, first_j + j)), side


def _scatter_and_randoms(trues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scattered and random counts for trues [along, line, k], the mean over angles."""
    sigma = _SCATTER_FWHM_MM / FWHM_PER_SIGMA / _BLOCK_MM
    scatter = _SCATTER * gaussian_filter1d(trues, sigma, axis=1, mode="constant")
    everything = trues.sum(axis=(0, 1), keepdims=True) * (1 + _SCATTER)
    randoms = _RANDOMS * everything / (_FIELD_MM / _BLOCK_MM) ** 2
    return np.asarray(scatter + randoms + 1e-6 * trues.max())


def _rotated(volume: NDArray[np.float64], angle: float, mode: str = "constant") -> Volume:
    """Return a volume rotated about its axis k by an angle in degrees."""
    return np.asarray(rotate(volume, angle, axes=(0, 1), reshape=False, order=1, mode=mode))


def on_blocks(volume: Volume, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return the means over blocks of about 8 mm, on pixels of exactly 8 mm within slices."""
    means = block_means(volume, block_edges(volume.shape, spacing_mm, _BLOCK_MM))
    steps = [max(round(_BLOCK_MM / mm), 1) * mm / _BLOCK_MM for mm in spacing_mm[:2]]
    return np.asarray(zoom(means, (*steps, 1), order=1))


def _on_voxels(blocks: NDArray[np.float64], shape: tuple[int, ...]) -> Volume:
    """Return values on pixels of 8 mm, interpolated to a scan of that shape."""
    factors = [n / m for n, m in zip(shape, blocks.shape, strict=True)]
    return np.asarray(
        zoom(blocks.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")
    )
