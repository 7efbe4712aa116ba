"""A score similar to that of the ultra-low-dose PET challenge.

The metrics and their weights are public (udpet-challenge.github.io, "Evaluation"): the whole image
30 %, organs 35 %, lesions 35 %. The conversion of errors to points and the measured part of an
organ are not public; they are chosen here. Therefore compare these scores only with each other.

- an error counts 100 · (1 - |error|) points, from 0 up; SSIM counts 100 · SSIM
- PSNR counts in proportion: 60 dB or more give 100 points; its peak is the reference's maximum
- total lesion activity is summed over the voxels of at least 41 % of the region's maximum
- grey levels are bins of 0.25 SUV
- if a patient has no lesions or organs, the weight of this part goes to the others
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from petdiff.evaluation.texture import grey_level_features
from petdiff.volume.regions import Volume

Weights = Mapping[str, float]

PARTS: Weights = MappingProxyType({"global": 30, "organs": 35, "lesions": 35})
GLOBAL: Weights = MappingProxyType({"nrmse": 30, "psnr": 30, "ssim": 40})
LOCAL: Weights = MappingProxyType(
    {
        "suv_max": 25,
        "suv_mean": 20,
        "activity": 15,
        "psnr": 10,
        "rms": 5,
        "percentile_90": 5,
        "median": 5,
        "joint_average": 5,
        "high_grey_level_run_emphasis": 5,
        "zone_percentage": 5,
    }
)
_FULL_MARKS_DB = 60.0


@dataclass(frozen=True)
class Score:
    """Points from 0 to 100: in total, of each part, and of each metric of a part."""

    total: float
    parts: Mapping[str, float]
    components: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Target:
    """A box around an organ or a lesion in the reference and in the test, and its voxels."""

    reference: Volume
    test: Volume
    mask: NDArray[np.bool_]


def challenge_score(
    nrmse: float,
    psnr_db: float | None,
    ssim: float | None,
    organs: Sequence[Target],
    lesions: Sequence[Target],
) -> Score:
    """Return the score of one scan; psnr_db None stands for equal scans.

    If a metric does not exist (SSIM of a thin scan), its weight goes to the others.
    """
    components: dict[str, dict[str, float]] = {
        "global": {"nrmse": points(nrmse), "psnr": _psnr_points(psnr_db)}
        | ({} if ssim is None else {"ssim": 100 * max(ssim, 0.0)})
    }
    for part, targets in (("organs", organs), ("lesions", lesions)):
        if targets:
            each = [_target_points(target) for target in targets]
            components[part] = {name: float(np.mean([p[name] for p in each])) for name in LOCAL}
    weights = {"global": GLOBAL, "organs": LOCAL, "lesions": LOCAL}
    parts = {part: weighted_mean(found, weights[part]) for part, found in components.items()}
    return Score(weighted_mean(parts, PARTS), parts, components)


def points(error: float) -> float:
    """Return 100 for no error, 0 for one of 100 % or more."""
    return 100 * max(0.0, 1 - abs(error))


def weighted_mean(values: Mapping[str, float], weights: Weights) -> float:
    """Return the weighted mean of the values; `weights` may have more names."""
    total = sum(weights[name] for name in values)
    return sum(weights[name] * value for name, value in values.items()) / total


def _psnr_points(psnr_db: float | None) -> float:
    return 100.0 if psnr_db is None else 100 * min(max(psnr_db / _FULL_MARKS_DB, 0.0), 1.0)


def _target_points(target: Target) -> dict[str, float]:
    before, after = (_figures(image, target.mask) for image in (target.reference, target.test))
    found = {name: points(_relative_error(before[name], after[name])) for name in before}
    inside, other = (image[target.mask] for image in (target.reference, target.test))
    error = float(np.square(other - inside).mean(dtype=np.float64))
    top = float(inside.max())
    decibel = None if error == 0 else 10 * np.log10(top**2 / error) if top > 0 else -np.inf
    return found | {"psnr": _psnr_points(decibel)}


def _figures(image: Volume, mask: NDArray[np.bool_]) -> dict[str, float]:
    values = image[mask].astype(np.float64)
    top = float(values.max())
    first_order = {
        "suv_max": top,
        "suv_mean": float(values.mean()),
        "activity": float(values[values >= 0.41 * top].sum()),
        "rms": float(np.sqrt(np.square(values).mean())),
        "percentile_90": float(np.percentile(values, 90)),
        "median": float(np.median(values)),
    }
    return first_order | grey_level_features(image, mask)


def _relative_error(before: float, after: float) -> float:
    if before == after:
        return 0.0
    return after / before - 1 if before > 0 else 1.0
