"""Positron emitters: half-life, positron emissions per decay, positron range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Isotope:
    """A positron emitter.

    `positron_fraction` is the number of positrons per decay. `range_fwhm_mm` is the FWHM of a
    Gaussian that describes the positron's range in water: 2.355 times the root mean square range
    along one axis.
    """

    half_life_s: float
    positron_fraction: float
    range_fwhm_mm: float

    def remaining(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """Return the fraction of the activity that remains after a time in seconds."""
        remaining: NDArray[np.float64] = np.exp2(-np.asarray(seconds, float) / self.half_life_s)
        return remaining


# Half-lives and emission: DDEP, Table of Radionuclides (BIPM-5). Ranges are the usual effective
# widths. The true distribution has a sharper peak and longer tails (docs/explanation/physics.md).
F18 = Isotope(half_life_s=109.77 * 60, positron_fraction=0.967, range_fwhm_mm=0.54)
GA68 = Isotope(half_life_s=67.71 * 60, positron_fraction=0.889, range_fwhm_mm=2.83)
ISOTOPES = {"18F": F18, "68Ga": GA68}
