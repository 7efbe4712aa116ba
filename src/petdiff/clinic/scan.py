"""From activity to the images that a scanner would show of it, at full dose and at lower ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from petdiff.clinic.acquisition import acquire, thin
from petdiff.clinic.reconstruction import osem
from petdiff.clinic.resolution import BlurredProjector

FloatArray = NDArray[np.float32]


def scan_slab(
    activity: FloatArray,
    mu_per_cm: FloatArray,
    scanner: BlurredProjector,
    reconstruction: BlurredProjector | None = None,
    *,
    expected_trues: float,
    dose_factors: Sequence[float],
    iterations: int,
    generator: np.random.Generator,
    scatter_fraction: float = 0.35,
    randoms_fraction: float = 0.3,
    normalisation_error: float = 0.01,
) -> FloatArray:
    """Scan a few slices of activity [i, j, k] at nested doses → images [dose, i, j, k].

    The images are in the unit of `activity`. `reconstruction` is the projector with the point
    spread that OSEM assumes, the scanner's own by default; both share one ParallelProjector.
    """
    scanned = acquire(
        activity,
        mu_per_cm,
        scanner,
        generator=generator,
        expected_trues=expected_trues,
        scatter_fraction=scatter_fraction,
        randoms_fraction=randoms_fraction,
        normalisation_error=normalisation_error,
    )
    images = osem(
        thin(scanned.counts, dose_factors, generator),
        reconstruction or scanner,
        iterations=iterations,
        multiplicative=scanned.multiplicative,
        additive=scanned.additive,
        exposures=[1 / factor for factor in dose_factors],
    )
    return np.ascontiguousarray(np.moveaxis(images, 2, 0))
