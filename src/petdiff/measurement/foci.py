"""Regions that nobody drew: balls about the foci of a denoised scan, above a threshold."""

from __future__ import annotations

import numpy as np

from petdiff.errors import InputRefused
from petdiff.evaluation.detection.foci import Foci, find_foci
from petdiff.image import PETImage
from petdiff.measurement.region import Region, ball_region

MIN_SUV = 4.0
FOUND_NOTE = (
    "Foci were found in the denoised scan: organs and vessels with uptake are among them, and what "
    "denoising lost is not. Their intervals were calibrated on foci of SUV 4 and more."
)


def find_lesions(denoised: PETImage, least: float | None = None) -> list[Region]:
    """Return a ball for each focus of a denoised scan, the most conspicuous first.

    least  SUV that the focus must reach, or value in the scan's own unit; None: 4 in SUV

    A focus has its place and radius from the detector of the evaluation, `find_foci`. Whether it is
    a lesion, nobody has decided: organs with uptake have foci, too. Its kind is "focus", because
    intervals of lesions at known places do not hold for places that were chosen for being hot.

    Raises InputRefused where there is none, and without `least` for a scan that is not in SUV.
    """
    if least is None and not denoised.in_suv:
        raise InputRefused(
            f"the scan is in {denoised.unit_name}, not in SUV, so SUV {MIN_SUV:g} is no "
            "threshold: give one in that unit as `lesions`"
        )
    threshold = MIN_SUV if least is None else least
    foci = find_foci(denoised.values, denoised.affine)
    foci = foci[np.flatnonzero(foci.contrast_suv + foci.background_suv >= threshold)]
    found = _balls(foci, denoised)
    if not found:
        raise InputRefused(
            f"the denoised scan has no focus of {threshold:g} {denoised.unit_name} and more: give "
            "a lower threshold as `lesions`"
        )
    return found


def _balls(foci: Foci, scan: PETImage) -> list[Region]:
    """Return the balls that lie in the field of view by half at least."""
    found: list[Region] = []
    for position, radius in zip(foci.position_mm, foci.radius_mm, strict=True):
        name = f"focus {len(found) + 1}"
        try:
            one = ball_region(position.tolist(), float(radius), scan, name=name, kind="focus")
        except InputRefused:
            continue
        found.append(one)
    return found
