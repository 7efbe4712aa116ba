"""Check whether a scan is suitable for an acceptance test."""

from __future__ import annotations

import numpy as np

from petdiff.errors import InputRefused
from petdiff.evaluation.phantom import find_spheres
from petdiff.image import PETImage
from petdiff.io.derivation import DENOISED, SIMULATED
from petdiff.volume.orientation import with_axis_last
from petdiff.volume.regions import Spacing, Volume

# The spheres' centres lie on a circle of this radius (NEMA NU 2-2018, section 7).
_CIRCLE_MM, _CIRCLE_WITHIN_MM = 57.2, 4.0
# Relative noise after a filter of 10 mm FWHM: simulated full-dose scans of five scanners have 0.015
# to 0.085, at 1/4 of the dose twice that; six real ones of a Discovery ST have 0.044 to 0.072.
_NOISY = 0.11
_MAX_NOISE_RATIO = 2.0  # to the median noise, or its reciprocal: 2 is about 1/4 of the dose


def refuse_unsuitable(image: PETImage) -> None:
    """Raise InputRefused with the reason for a scan that is not a patient's full-dose scan."""
    kinds = image.facts.get("image_type") or ()
    for kind in (DENOISED, SIMULATED):
        if kind in kinds:
            raise InputRefused(f"it is a derived image ({kind}): give the scanner's own")
    if image.facts.get("format") == "dicom" and "ATTN" not in image.facts.get("corrections", ()):
        raise InputRefused("it is not corrected for attenuation: give the corrected series")
    if is_phantom(*with_axis_last(image)):
        raise InputRefused("it is a NEMA phantom, not a patient: give it as `phantom`")


def is_phantom(volume: Volume, spacing_mm: Spacing) -> bool:
    """Return whether six hot spheres are on the circle of the NEMA image quality phantom.

    volume  [i, j, k], the phantom's axis along k
    """
    try:
        centres = np.array(find_spheres(volume, spacing_mm))[:, :2] * spacing_mm[:2]
    except InputRefused:
        return False
    # Least squares: 2 x·c + (r² - c²) = x², linear in the centre c and in r² - c².
    columns = np.concatenate([2 * centres, np.ones((len(centres), 1))], axis=1)
    (x, y, _), *_ = np.linalg.lstsq(columns, np.square(centres).sum(axis=1), rcond=None)
    radii = np.linalg.norm(centres - (x, y), axis=1)
    return bool((np.abs(radii - _CIRCLE_MM) < _CIRCLE_WITHIN_MM).all())


def noise_warnings(noise: dict[str, float]) -> dict[str, str]:
    """Return, by scan, why it seems not to be a full-dose scan, or to be filtered.

    noise  `MeasuredScan.noise_at_10_mm`, by scan
    """
    found = {}
    median = float(np.median(list(noise.values()))) if noise else 0.0
    for name, value in noise.items():
        if value > _NOISY:
            found[name] = "noisier than full-dose scans are: it seems to be of a low dose itself"
        elif value > _MAX_NOISE_RATIO * median:
            share = (median / value) ** 2
            found[name] = (
                f"as noisy as a scan at {100 * share:.0f} % of the other scans' dose: it seems to "
                "be of a low dose itself"
            )
        elif value < median / _MAX_NOISE_RATIO:
            found[name] = "less than half as noisy as the other scans: it seems to be filtered"
    return found


def require_one_scanner(scanners: dict[str, str]) -> None:
    """Raise InputRefused if the scans come from several scanners.

    scanners  name of the scanner by scan; "" if unknown
    """
    names = sorted({name for name in scanners.values() if name})
    if len(names) > 1:
        raise InputRefused(
            f"the scans come from {len(names)} scanners ({', '.join(names)}), but an acceptance "
            "test is for one: give one folder per scanner"
        )
