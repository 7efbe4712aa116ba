"""Check of a scan's SUV by its mean over most of the body, whose range is known.

SUV is activity per gram of tissue over injected activity per gram of body, decay corrected. Its
mean over the whole body is therefore the share of the injected activity that is not excreted,
slightly below 1. The mean of the trunk is about the same. That of a head, an abdomen or a pelvis
depends on the uptake of its organs, differs tenfold between tracers, and cannot be checked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from petdiff.uncertainty.alarm.record import MeanSUV

LENGTH_MM = 700.0  # least length of the body in the scan; shorter parts can have any mean
# 0.55 to 0.93 in simulated whole bodies and trunks of four tracers; explanation/alarm.md
BOUNDS = (0.5, 1.25)


def mean_suv(found: Mapping[str, float]) -> MeanSUV | None:
    """Return the mean SUV of the body and its bounds from a scan's features.

    Returns None if the scan is not in SUV, is short, or is cropped within the body.
    """
    if "scale" not in found or "field" not in found or np.exp(found["length"]) < LENGTH_MM:
        return None
    return MeanSUV(mean=round(float(np.exp(found["scale"])), 4), low=BOUNDS[0], high=BOUNDS[1])
