"""Regions without a mask: spheres around the foci of a denoised scan above a threshold."""

from __future__ import annotations

import numpy as np

from petdiff.errors import InputRefused
from petdiff.evaluation.detection.foci import Foci, find_foci
from petdiff.image import PETImage
from petdiff.measurement.region import Region, ball_region

MIN_SUV = 4.0
FOUND_NOTE = (
    "Foci were detected in the denoised scan: they include organs and vessels with uptake, and not "
    "lesions that denoising removed. Their intervals were calibrated on foci of SUV 4 or more."
)


def find_lesions(denoised: PETImage, least: float | None = None) -> list[Region]:
    """Return a sphere for each focus of a denoised scan, in the order of their scores.

    least  minimum SUV of a focus, or value in the scan's own unit; None: SUV 4. It is the sum of
           the detector's contrast and background, which is below SUVmax for a small lesion

    Position and radius are those of `find_foci`, the detector of the evaluation. A focus need not
    be a lesion: organs with uptake have foci too. Its kind is "focus", because the intervals of
    lesions at known positions are not valid for positions that were chosen by their uptake.

    Raises InputRefused if there are no foci, and without `least` for a scan that is not in SUV.
    """
    if least is None and not denoised.in_suv:
        raise InputRefused(
            f"the scan is in {denoised.unit_name}, not in SUV, so the threshold SUV {MIN_SUV:g} "
            "cannot be used: give a threshold in that unit as `lesions`"
        )
    threshold = MIN_SUV if least is None else least
    foci = find_foci(denoised.values, denoised.affine)
    foci = foci[np.flatnonzero(foci.contrast_suv + foci.background_suv >= threshold)]
    found = _balls(foci, denoised)
    if not found:
        raise InputRefused(
            f"the denoised scan has no focus of {threshold:g} {denoised.unit_name} or more: give "
            "a lower threshold as `lesions`"
        )
    return found


def _balls(foci: Foci, scan: PETImage) -> list[Region]:
    """Return the spheres that are at least half in the field of view."""
    found: list[Region] = []
    for position, radius in zip(foci.position_mm, foci.radius_mm, strict=True):
        name = f"focus {len(found) + 1}"
        try:
            one = ball_region(position.tolist(), float(radius), scan, name=name, kind="focus")
        except InputRefused:
            continue
        found.append(one)
    return found
