"""What denoising did to the amount of activity, over the whole scan and by how hot it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.volume.regions import Spacing, block_edges, block_sums, block_volumes

_SUV_BANDS = (-np.inf, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, np.inf)
_BLOCK_MM = 8.0


def activity_change(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    spacing_mm: Spacing,
    *,
    in_suv: bool = True,
) -> dict[str, Any]:
    """Measure the relative change of the summed activity, of all and by SUV band. JSON-able.

    Values that are not in SUV have no bands.
    A region is the blocks of 8 mm whose mean in `before` lies in the band: single noisy voxels,
    which denoising must change, do not choose their own band.
    """
    edges = block_edges(before.shape, spacing_mm, _BLOCK_MM)
    voxels = block_volumes(before.shape, edges)
    sums_before, sums_after = block_sums(before, edges), block_sums(after, edges)
    means = sums_before / voxels
    millilitre = float(np.prod(spacing_mm)) / 1000
    bands = []
    for low, high in pairwise(_SUV_BANDS if in_suv else ()):
        inside = (means >= low) & (means < high)
        if not inside.any():
            continue
        volume = voxels[inside].sum()
        mean_before, mean_after = (s[inside].sum() / volume for s in (sums_before, sums_after))
        bands.append(
            {
                "suv_from": _finite(low),
                "suv_to": _finite(high),
                "volume_ml": round(volume * millilitre, 1),
                "mean_suv_before": float(mean_before),
                "mean_suv_after": float(mean_after),
                "relative_change": relative_change(mean_before, mean_after),
            }
        )
    whole = relative_change(sums_before.sum(), sums_after.sum())
    return {"relative_change": whole, "by_suv": bands}


def relative_change(before: float, after: float) -> float | None:
    """after / before - 1, None where there was nothing before."""
    return float(after / before - 1) if before > 0 else None


def _finite(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None
