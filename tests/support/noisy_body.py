"""A simulated low-dose scan of a body, and denoisers of known bias: which of them raise an alarm.

`python tests/support/noisy_body.py` prints the table in docs/reference/report-page.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.report.notices import activity_notices
from petdiff.volume.activity import ActivityChange, activity_change

Volume = NDArray[np.float32]
Denoiser = Callable[[Volume, Volume], Volume]

VOXEL_MM = (4.0, 4.0, 4.0)
SHAPE = (64, 48, 80)
LIVER = (38, 24, 44, 44.0)  # centre in voxels, radius in mm
LEVEL = 0.3  # of noise: standard deviation of a voxel of SUV 1
TUMOUR = (22, 26, 54, 14.0)  # 11 ml


def true_suv() -> Volume:
    """Fat, muscle, liver, heart, brain and a tumour of 11 ml, seen at a resolution of 5 mm."""
    suv = np.where(_ball(32, 24, 40, 92.0, squeeze=0.55), 0.4, 0.0)
    suv = np.where(_ball(32, 24, 40, 80.0, squeeze=0.65), 0.8, suv)
    for *ball, level in ((*LIVER, 2.3), (26, 20, 58, 26.0, 4.0), (32, 24, 70, 30.0, 8.0),
                         (*TUMOUR, 7.0)):  # fmt: skip
        suv = np.where(_ball(*ball), level, suv)
    return np.asarray(gaussian_filter(suv, 0.5), dtype=np.float32)


def noise(seed: int, level: float, suv: Volume) -> Volume:
    """Noise of a reconstruction: correlated over 5 mm, its variance proportional to activity."""
    white = np.random.default_rng(seed).normal(size=SHAPE)
    correlated = gaussian_filter(white, 0.5)
    return np.asarray(level * np.sqrt(suv + 0.02) * correlated / correlated.std(), np.float32)


DENOISERS: dict[str, Denoiser] = {
    "removes all noise": lambda suv, noise: suv,
    "leaves 30 % of the noise": lambda suv, noise: suv + np.float32(0.3) * noise,
    "leaves 70 % of the noise": lambda suv, noise: suv + np.float32(0.7) * noise,
    "leaves regional noise": lambda suv, noise: suv + gaussian_filter(noise, 2.5),
}


def liver_lowered(denoised: Volume) -> Volume:
    """Return a denoised scan with 5 % too little activity in the liver."""
    return np.where(_ball(*LIVER), np.float32(0.95) * denoised, denoised)


def changed(
    suv: Volume, denoiser: Denoiser, seed: int, *, biased: bool, level: float = LEVEL
) -> ActivityChange:
    """Return what is measured of one denoiser on one noisy scan."""
    grain = noise(seed, level, suv)
    denoised = denoiser(suv, grain)
    after = liver_lowered(denoised) if biased else denoised
    return activity_change(suv + grain, after, VOXEL_MM)


def _ball(i: float, j: float, k: float, radius_mm: float, squeeze: float = 1.0) -> Volume:
    """Voxels within a radius; `squeeze` below 1 makes it longer along k."""
    x, y, z = (np.arange(n) - c for n, c in zip(SHAPE, (i, j, k), strict=True))
    squares = x[:, None, None] ** 2 + y[:, None] ** 2 + (squeeze * z) ** 2
    return np.asarray(squares * VOXEL_MM[0] ** 2 <= radius_mm**2)


def main(scans: int = 200) -> None:
    """Print the share of scans with an alarm at two noise levels, without and with the bias."""
    suv = true_suv()
    for name, denoiser in DENOISERS.items():
        cells = []
        for level, biased in product((LEVEL, 2 * LEVEL), (False, True)):
            alarms = [
                bool(activity_notices(changed(suv, denoiser, seed, biased=biased, level=level)))
                for seed in range(scans)
            ]
            cells.append(f"{np.mean(alarms):.0%}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
