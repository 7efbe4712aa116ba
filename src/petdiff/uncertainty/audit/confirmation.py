"""Compare a finding with a scan of a higher dose, to distinguish false from true findings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.uncertainty.audit.record import Finding
from petdiff.uncertainty.audit.scales import SIGMA_PER_RADIUS

_REACH = 4.0  # standard deviations at which the Gaussian is truncated


def is_confirmed(
    finding: Finding, measured: PETImage, denoised: PETImage, reference: PETImage
) -> bool:
    """Return whether the reference agrees with the measured scan at a finding.

    reference  a scan of the same activity with less noise, on the same voxels, in the same unit

    It agrees if its contrast at the finding's scale is closer to that of the measured scan than to
    that of the denoised one.
    """
    of_measured, of_denoised, of_reference = (
        _contrast(scan, finding) for scan in (measured, denoised, reference)
    )
    return abs(of_reference - of_measured) < abs(of_reference - of_denoised)


def _contrast(scan: PETImage, finding: Finding) -> float:
    """Return the mean of the finding's ball minus that of a ball of twice the size."""
    sigma_mm = finding.diameter_mm / 2 * SIGMA_PER_RADIUS
    near, wide = (_mean(scan, finding.voxel, sigma) for sigma in (sigma_mm, 2 * sigma_mm))
    return near - wide


def _mean(scan: PETImage, voxel: tuple[int, int, int], sigma_mm: float) -> float:
    """Return the mean around a voxel with Gaussian weights."""
    box, weights = [], []
    for at, n, size in zip(voxel, scan.shape, scan.spacing_mm, strict=True):
        reach = int(np.ceil(_REACH * sigma_mm / size))
        places = np.arange(max(at - reach, 0), min(at + reach + 1, n))
        weight: NDArray[np.float64] = np.exp(-(((places - at) * size / sigma_mm) ** 2) / 2)
        box.append(slice(int(places[0]), int(places[-1]) + 1))
        weights.append(weight / weight.sum())
    return float(np.einsum("ijk,i,j,k->", scan.values[tuple(box)], *weights))
