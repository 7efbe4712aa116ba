"""Checks of a pair of scans, made on a summary of each. No file is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.data.fingerprint import fingerprint
from petdiff.data.layouts import dose_text
from petdiff.image import PETImage
from petdiff.volume.noise import NOISE_VOXEL_MM, noise_level
from petdiff.volume.regions import (
    Blocks,
    block_edges,
    block_sums,
    block_volumes,
    typical_uptake,
)

# Where all activity stays in the body and tissue weighs as water, the mean SUV of the body is 1 by
# definition. Simulated torsos have 0.77 to 1.01 (four tracers on four scanners), the hottest and
# the coldest sixth of one 3.0 and 0.34. Outside 0.3 to 3 lies a short scan, or a wrong weight or
# dose; outside 0.1 to 10 lies no SUV: Bq/ml, say, or what was divided by 16 for the published net.
_USUAL_MEAN_SUV = (0.3, 3.0)
_POSSIBLE_MEAN_SUV = (0.1, 10.0)
# SUV needs no more than the calibration, which EARL holds to 10 % (Boellaard 2015, EJNMMI 42:328).
# Simulated low-dose scans keep the activity to 2.2 % down to 1/100.
_USUAL_ACTIVITY_CHANGE = 0.1
_POSSIBLE_ACTIVITY_CHANGE = 0.5
# How alike the two are at 3 cm. Simulated pairs: 0.996 and more; mirrored: 0.73 to 0.92;
# turned upside down, or of two patients: 0.76 and less.
_USUAL_LIKENESS = 0.95
_POSSIBLE_LIKENESS = 0.8
_CLIPPED_VOXELS = 50  # that hold the very maximum

_AIR_SHARE = 0.12  # of typical uptake, as for the body's mask
_BLOCK_MM = 8.0
_LIKENESS_SIGMA = 1.5  # blocks
_NOISE_PLANES = 64  # in the middle of a scan: all of it would take longer than reading it
_UNSCALED_WITHIN = 0.2


class Finding(NamedTuple):
    """A finding in one line. The lower the rank, the worse; what is ODD may be right after all."""

    rank: int
    line: str


UNREADABLE, TWICE, GRID, UNIT, SUV, ACTIVITY, UNLIKE, NOISE, ODD = range(9)


@dataclass(frozen=True, eq=False)
class Summary:
    """A scan reduced to what the checks need: some 10,000 numbers instead of its voxels.

    corners     of the grid of voxel centres, mm [8, 3]
    means       of blocks of about 8 mm, in the scan's unit
    unit        of the scan, as text; in_suv: whether it is SUV
    noise       of the middle planes on the scan's own grid: comparable within a pair only
    at_highest  voxels that hold the highest value
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
    """Return the summary of a scan, in whatever unit it is."""
    suv = image.values
    edges = block_edges(suv.shape, image.spacing_mm, _BLOCK_MM)
    first = max((suv.shape[2] - _NOISE_PLANES) // 2, 0)
    # noise_level resamples to 1.65 mm. As if the voxels had that size, it takes them as they are.
    middle = suv[:, :, first : first + _NOISE_PLANES]
    if not image.in_suv:  # noise_level takes SUV, of which a body has about 1
        middle = middle * np.float32(1 / (typical_uptake(suv) or 1.0))
    noise = noise_level(middle, (NOISE_VOXEL_MM,) * 3)
    return Summary(
        shape=suv.shape,
        corners=image.corners_mm,
        unit=image.unit_name,
        in_suv=image.in_suv,
        means=block_sums(suv, edges) / block_volumes(suv.shape, edges),
        noise=noise,
        lowest=float(suv.min()),
        highest=float(suv.max()),
        at_highest=int(np.count_nonzero(suv == suv.max())),
        fingerprint=fingerprint(image),
    )


def check_scan(name: str, scan: Summary, *, needs_suv: bool) -> Iterator[Finding]:
    """Yield what keeps a scan from being that of a person, and its SUV from being SUV.

    needs_suv  whether a wrong SUV spoils the training; without it that is only a warning
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
    """Yield a finding where the mean SUV of the body is unusual, or of this rank, impossible."""
    mean = _mean(scan.means, _body(scan.means))
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


def check_pair(
    name: str, low: Summary, full: Summary, factor: float | None, tolerance_mm: float
) -> Iterator[Finding]:
    """Yield what keeps two scans from being a pair: of one patient, the low-dose one noisier."""
    if low.fingerprint == full.fingerprint:
        yield Finding(TWICE, f"{name}: voxel by voxel the full-dose scan: nothing to learn")
        return
    if low.unit != full.unit:
        yield Finding(UNIT, f"{name}: in {low.unit}, full dose in {full.unit}")
        return
    if low.shape != full.shape:
        yield Finding(GRID, f"{name}: {_times(low.shape)} voxels, full dose {_times(full.shape)}")
        return
    apart_mm = float(np.linalg.norm(low.corners - full.corners, axis=1).max())
    if apart_mm > tolerance_mm:
        yield Finding(
            GRID, f"{name}: voxels lie up to {apart_mm:.2f} mm from those at full dose: resample it"
        )
        return
    body = _body(full.means)
    if not body.any():
        return  # which check_scan reports
    yield from _check_activity(name, low, full, body, factor)
    likeness = _likeness(low.means, full.means, body)
    if likeness < _USUAL_LIKENESS:
        rank = UNLIKE if likeness < _POSSIBLE_LIKENESS else ODD
        yield Finding(
            rank,
            f"{name}: correlates with full dose by {likeness:.2f} at 3 cm, where pairs reach 0.99: "
            "another patient, turned, mirrored, or moved between the scans?",
        )
    if low.noise is not None and full.noise is not None and low.noise <= full.noise:
        yield Finding(
            NOISE,
            f"{name}: no noisier than full dose ({low.noise:.4f}, full {full.noise:.4f}): "
            "exchanged, or smoothed?",
        )


def check_order(patient: str, noises: Mapping[float, float]) -> Iterator[Finding]:
    """Yield a finding where noise, by dose reduction factor, does not rise as the dose falls."""
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
    unscaled = factor is not None and factor > 1 and abs(ratio * factor - 1) < _UNSCALED_WITHIN
    why = (
        f"as if it were not scaled up to full dose: multiply it by {factor:g}"
        if unscaled
        else "another weight, dose or decay correction in its header?"
    )
    yield Finding(rank, f"{name}: {ratio:.3g} times the activity at full dose, {why}")


def _body(means: Blocks) -> NDArray[np.bool_]:
    return np.asarray(means > _AIR_SHARE * typical_uptake(means))


def _mean(means: Blocks, where: NDArray[np.bool_]) -> float:
    return float(means[where].mean()) if where.any() else 0.0


def _likeness(low: Blocks, full: Blocks, body: NDArray[np.bool_]) -> float:
    """Return how well two scans correlate over the body: square roots of activity at about 3 cm.

    1 where both are uniform.
    """
    first, second = (
        np.sqrt(np.maximum(gaussian_filter(means, _LIKENESS_SIGMA), 0))[body]
        for means in (low, full)
    )
    if first.std() == 0 or second.std() == 0:
        return float(first.std() == second.std())
    return float(np.corrcoef(first, second)[0, 1])


def _why(scan: Summary, mean: float) -> str:
    if scan.highest <= 1 and 0.1 <= 16 * mean <= 10:
        return "and nothing exceeds 1: divided by 16? Give `suv_factor` 16"
    if mean > 100:
        return "which is no SUV: Bq/ml?"
    return "which is no SUV: a wrong unit, weight or dose?"


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(n) for n in shape)
