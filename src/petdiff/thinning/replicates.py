"""Thinning by frames: some of the frames that repeat a measurement are a scan of lower dose."""

from __future__ import annotations

import numpy as np

from petdiff.errors import InputRefused
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.units import share_of
from petdiff.volume.regions import body_mask

_ALIKE = 0.05  # largest relative difference of durations and activities of repeated frames


def mean_of_some(scan: PETFrames, drf: float, seed: int) -> tuple[PETImage, tuple[int, ...]]:
    """Return the mean over a share 1/drf of the frames, drawn by `seed`, and their numbers from 1.

    Raises InputRefused if the frames do not repeat one measurement, or have no such share.
    """
    _require_repeats(scan)
    wanted = len(scan) / drf
    count = round(wanted)
    if count < 1 or abs(wanted - count) > 0.01 * wanted:
        raise InputRefused(
            f"{len(scan)} frames have no share of {share_of(drf)}: give n/{len(scan)}, or one "
            "frame as a scan of its own"
        )
    order = np.random.default_rng(seed).permutation(len(scan))[:count]
    chosen = tuple(sorted(int(n) for n in order))
    total = np.zeros(scan.first.shape)
    for n in chosen:
        total += scan[n].values
    return scan.mean().with_values(total / count), tuple(n + 1 for n in chosen)


def _require_repeats(scan: PETFrames) -> None:
    """Raise InputRefused unless all frames have one duration and one activity."""
    durations = np.array([timing.duration_s or 0.0 for timing in scan.timings])
    if durations.min() <= 0 or np.ptp(durations) > _ALIKE * durations.mean():
        raise InputRefused(
            "the frames are not of one known duration, so they are no repetitions: thin one frame "
            "as a scan of its own"
        )
    body = body_mask(scan.mean().values, scan.first.spacing_mm)
    means = np.array([frame.values[body].mean(dtype=np.float64) for frame in scan])
    if np.ptp(means) > _ALIKE * means.mean():
        raise InputRefused(
            "the activity changes from frame to frame, so they are no repetitions: thin one frame "
            "as a scan of its own"
        )
