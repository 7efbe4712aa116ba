"""Whether a scan's SUV can be right: most of a body has a mean SUV that is known beforehand.

SUV is activity per gram of tissue over injected activity per gram of body, decay corrected. So the
mean over the whole body is the share of the injected activity that has not been excreted, just
below 1. The trunk has about the same; a head, an abdomen or a pelvis has what its organs take up,
which differs tenfold between tracers, and says nothing about the scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from petdiff.uncertainty.alarm.record import MeanSUV

LENGTH_MM = 700.0  # of body along a scan: shorter ones may show a part with any mean
# 0.55 to 0.93 in simulated whole bodies and trunks of four tracers; explanation/alarm.md
BOUNDS = (0.5, 1.25)


def mean_suv(found: Mapping[str, float]) -> MeanSUV | None:
    """Return the mean SUV of the body and its bounds from a scan's features.

    None where it is not known: the scan is not in SUV, is short, or is cropped within the body.
    """
    if "scale" not in found or "field" not in found or np.exp(found["length"]) < LENGTH_MM:
        return None
    return MeanSUV(mean=round(float(np.exp(found["scale"])), 4), low=BOUNDS[0], high=BOUNDS[1])
