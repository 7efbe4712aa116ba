"""Check a pair of scans, from a summary of each. No file is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.data.fingerprint import fingerprint
from petdiff.data.layouts import dose_text
from petdiff.image import PETImage, by_axis
from petdiff.volume.noise import NOISE_VOXEL_MM, noise_level
from petdiff.volume.regions import (
    Blocks,
    above_air,
    block_edges,
    block_means,
    typical_uptake,
)

# If all activity stays in the body and its density is 1 g/ml, the mean SUV of the body is 1 by
# definition. Simulated torsos have 0.77 to 1.01 (four tracers on four scanners); the hottest sixth
# of one has 3.0, the coldest 0.34. A mean outside 0.3 to 3 indicates a short scan or a wrong weight
# or dose. A mean outside 0.1 to 10 is not SUV, but Bq/ml or SUV / 16 (of the published network).
_USUAL_MEAN_SUV = (0.3, 3.0)
_POSSIBLE_MEAN_SUV = (0.1, 10.0)
# EARL limits errors of the calibration to 10 % (Boellaard 2015, EJNMMI 42:328). The activity of
# simulated low-dose scans changes by at most 2.2 % down to 1/100.
_USUAL_ACTIVITY_CHANGE = 0.1
_POSSIBLE_ACTIVITY_CHANGE = 0.5
# Correlation of the two scans at 3 cm. Simulated pairs: 0.996 and more; mirrored: 0.73 to 0.92;
# turned upside down, or of two patients: 0.76 and less.
_USUAL_CORRELATION = 0.95
_POSSIBLE_CORRELATION = 0.8
_CLIPPED_VOXELS = 50  # number of voxels equal to the maximum
SAME_GRID_MM = 0.1  # the largest distance between the voxels of a pair

_BLOCK_MM = 8.0
_CORRELATION_SIGMA = 1.5  # blocks
_NOISE_PLANES = 64  # in the middle of a scan: all planes would take longer than reading
_UNSCALED_TOLERANCE = 0.2


class Finding(NamedTuple):
    """A finding in one line. Lower ranks are worse; ODD is only a warning."""

    rank: int
    line: str


UNREADABLE, TWICE, GRID, UNIT, SUV, ACTIVITY, UNLIKE, NOISE, ODD = range(9)


@dataclass(frozen=True, eq=False)
class Summary:
    """The properties of a scan that are checked: about 10,000 numbers instead of all voxels.

    corners     of the grid of voxel centres, mm [8, 3]
    means       of blocks of about 8 mm, in the scan's unit
    unit        of the scan, as text; in_suv: whether it is SUV
    noise       of the middle planes on the scan's grid: comparable only within a pair
    at_highest  number of voxels with the highest value
    fingerprint  of all voxels' values (data.fingerprint)
    """

    shape: tuple[int, ...]
    corners: NDArray[np.float64]
    unit: str
    in_suv: bool
    means: Blocks
    noise: float | None
    lowest: float
    highest: float
    at_highest: int
    fingerprint: str


def summarise(image: PETImage) -> Summary:
    """Return the summary of a scan in any unit."""
    suv = image.values
    edges = block_edges(suv.shape, image.spacing_mm, _BLOCK_MM)
    first = max((suv.shape[2] - _NOISE_PLANES) // 2, 0)
    # noise_level resamples to 1.65 mm; with this voxel size it does not resample.
    middle = suv[:, :, first : first + _NOISE_PLANES]
    if not image.in_suv:  # noise_level expects SUV, with a mean of about 1
        middle = middle * np.float32(1 / (typical_uptake(suv) or 1.0))
    noise = noise_level(middle, (NOISE_VOXEL_MM,) * 3)
    return Summary(
        shape=suv.shape,
        corners=image.corners_mm,
        unit=image.unit_name,
        in_suv=image.in_suv,
        means=block_means(suv, edges),
        noise=noise,
        lowest=float(suv.min()),
        highest=float(suv.max()),
        at_highest=int(np.count_nonzero(suv == suv.max())),
        fingerprint=fingerprint(image),
    )


def check_scan(name: str, scan: Summary, *, needs_suv: bool) -> Iterator[Finding]:
    """Yield signs that a scan is empty or clipped, or that its SUV is wrong.

    needs_suv  the method needs SUV; else a wrong SUV is only a warning
    """
    if scan.lowest == scan.highest:
        yield Finding(SUV, f"{name}: every voxel is {scan.highest:g}: an empty scan")
        return
    if scan.in_suv:
        yield from _check_mean(name, scan, SUV if needs_suv else ODD)
    if scan.at_highest >= _CLIPPED_VOXELS:
        yield Finding(
            ODD,
            f"{name}: {scan.at_highest} voxels hold the maximum, {scan.highest:g}: clipped? "
            "A model trained on it cannot learn hot uptake",
        )


def _check_mean(name: str, scan: Summary, impossible: int) -> Iterator[Finding]:
    """Yield a finding if the mean SUV of the body is unusual; if impossible, of this rank."""
    mean = _mean(scan.means, above_air(scan.means))
    low, high = _POSSIBLE_MEAN_SUV
    if not low <= mean <= high:
        why = f"mean SUV of the body is {mean:.3g}, {_why(scan, mean)}"
        yield Finding(impossible, f"{name}: {why}")
    elif not _USUAL_MEAN_SUV[0] <= mean <= _USUAL_MEAN_SUV[1]:
        yield Finding(
            ODD,
            f"{name}: mean SUV of the body is {mean:.2f}, usual are {_USUAL_MEAN_SUV[0]:g} to "
            f"{_USUAL_MEAN_SUV[1]:g}: a short scan, or a wrong weight or dose?",
        )


def check_pair(name: str, low: Summary, full: Summary, factor: float | None) -> Iterator[Finding]:
    """Yield signs that two scans are not a low-dose and a full-dose scan of one patient."""
    if low.fingerprint == full.fingerprint:
        yield Finding(TWICE, f"{name}: equals the full-dose scan voxel by voxel")
        return
    if low.unit != full.unit:
        yield Finding(UNIT, f"{name}: in {low.unit}, full dose in {full.unit}")
        return
    if low.shape != full.shape:
        yield Finding(GRID, f"{name}: {by_axis(low.shape)} voxels, full dose {by_axis(full.shape)}")
        return
    apart_mm = float(np.linalg.norm(low.corners - full.corners, axis=1).max())
    if apart_mm > SAME_GRID_MM:
        yield Finding(
            GRID, f"{name}: voxels lie up to {apart_mm:.2f} mm from those at full dose: resample it"
        )
        return
    body = above_air(full.means)
    if not body.any():
        return  # check_scan reports this
    yield from _check_activity(name, low, full, body, factor)
    correlation = _correlation(low.means, full.means, body)
    if correlation < _USUAL_CORRELATION:
        rank = UNLIKE if correlation < _POSSIBLE_CORRELATION else ODD
        yield Finding(
            rank,
            f"{name}: correlates with full dose by {correlation:.2f} at 3 cm, where pairs reach "
            "0.99: another patient, turned, mirrored, or moved between the scans?",
        )
    if low.noise is not None and full.noise is not None and low.noise <= full.noise:
        yield Finding(
            NOISE,
            f"{name}: no noisier than full dose ({low.noise:.4f}, full {full.noise:.4f}): "
            "exchanged, or smoothed?",
        )


def check_order(patient: str, noises: Mapping[float, float]) -> Iterator[Finding]:
    """Yield a finding if noise (by dose reduction factor) does not rise as the dose falls."""
    ordered = [noises[factor] for factor in sorted(noises)]
    if ordered != sorted(ordered):
        levels = ", ".join(f"{dose_text(f)} {noises[f]:.4f}" for f in sorted(noises))
        line = f"{patient}: noise does not rise as the dose falls ({levels}): doses mixed up?"
        yield Finding(ODD, line)


def _check_activity(
    name: str, low: Summary, full: Summary, body: NDArray[np.bool_], factor: float | None
) -> Iterator[Finding]:
    ratio = _mean(low.means, body) / _mean(full.means, body)
    if abs(ratio - 1) <= _USUAL_ACTIVITY_CHANGE:
        return
    rank = ACTIVITY if abs(ratio - 1) > _POSSIBLE_ACTIVITY_CHANGE else ODD
    unscaled = factor is not None and factor > 1 and abs(ratio * factor - 1) < _UNSCALED_TOLERANCE
    why = (
        f"as if it were not scaled up to full dose: multiply it by {factor:g}"
        if unscaled
        else "another weight, dose or decay correction in its header?"
    )
    yield Finding(rank, f"{name}: {ratio:.3g} times the activity at full dose, {why}")


def _mean(means: Blocks, where: NDArray[np.bool_]) -> float:
    return float(means[where].mean()) if where.any() else 0.0


def _correlation(low: Blocks, full: Blocks, body: NDArray[np.bool_]) -> float:
    """Return the correlation over the body of the square roots of two scans, blurred to 3 cm.

    1 if both are uniform.
    """
    first, second = (
        np.sqrt(np.maximum(gaussian_filter(means, _CORRELATION_SIGMA), 0))[body]
        for means in (low, full)
    )
    if first.std() == 0 or second.std() == 0:
        return float(first.std() == second.std())
    return float(np.corrcoef(first, second)[0, 1])


def _why(scan: Summary, mean: float) -> str:
    if scan.highest <= 1 and 0.1 <= 16 * mean <= 10:
        return "and nothing exceeds 1: divided by 16? Give `suv_factor` 16"
    if mean > 100:
        return "which is not SUV: Bq/ml?"
    return "which is not SUV: a wrong unit, weight or dose?"
