"""The metrics by which a cohort's methods are compared."""

from __future__ import annotations

import math
from typing import NamedTuple


class Metric(NamedTuple):
    """A metric that methods are compared by.

    better  +1: higher values are better; -1: lower ones; 0: those nearer to zero, for a bias
    least, most  of its possible values
    is_ranked    False: its values are shown, and none is the best
    """

    name: str
    title: str
    unit: str
    better: int
    least: float = 0.0
    most: float = math.inf
    is_ranked: bool = True


INTERVAL_LEVELS = (50, 80, 90, 95)  # %
# Not ranked: a blurred scan has the lowest COV, noise raises the gradient, the unchanged scan takes
# the least time and has no audit findings, and the coverage of an interval should equal its level.
METRICS = (
    Metric("psnr_db", "PSNR", "dB", 1, -math.inf),
    Metric("ssim", "SSIM", "1", 1, -1, 1),
    Metric("nrmse", "NRMSE", "1", -1),
    Metric("lesion_suv_peak_bias", "Lesion SUVpeak, bias", "1", 0, -math.inf),
    Metric("lesion_suv_peak_error", "Lesion SUVpeak, absolute error", "1", -1),
    Metric("liver_cov", "Liver COV", "1", 0, is_ranked=False),
    Metric("nps_distance", "Noise texture, distance", "1", -1),
    Metric("gradient_ratio", "Mean gradient, over that of full dose", "1", 0, is_ranked=False),
    Metric("seconds", "Time per scan", "s", -1, is_ranked=False),
    *(
        Metric(
            f"within_interval_{level}", f"Voxels within their {level} % interval", "1", 0, 0, 1,
            is_ranked=False,
        )
        for level in INTERVAL_LEVELS
    ),
    Metric(
        "interval_width_90", "Width of the 90 % intervals of voxels", "SUV", -1, is_ranked=False
    ),
    Metric("audit_fabrications", "Audit: fabrications per scan", "1", -1, is_ranked=False),
    Metric("audit_omissions", "Audit: omissions per scan", "1", -1, is_ranked=False),
    Metric(
        "audit_false_alarms", "Audit: findings per scan that full dose contradicts", "1", -1,
        is_ranked=False,
    ),
    Metric(
        "alarms", "Scans that are unlike those that the model knows", "1", -1, 0, 1,
        is_ranked=False,
    ),
)  # fmt: skip


def ranked_metric(name: str) -> Metric:
    """Return a metric by which methods can be ranked. Raises ValueError for any other name."""
    ranked = {one.name: one for one in METRICS if one.better and one.is_ranked}
    if name not in ranked:
        raise ValueError(f"{name!r} is not a metric that ranks methods: give {', '.join(ranked)}")
    return ranked[name]
