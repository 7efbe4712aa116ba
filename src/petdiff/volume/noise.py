"""A measure of the noise of a scan, computed from the scan alone."""

from __future__ import annotations

import numpy as np

from petdiff.volume.plane_ranges import map_plane_ranges
from petdiff.volume.regions import Spacing, Volume
from petdiff.volume.spans import Span

NOISE_VOXEL_MM = 1.65  # voxel size at which noise is measured, that of the published network
_SIGMA = 2.0  # standard deviation of the Gaussian, in voxels
_REACH = 8  # voxels: where that Gaussian is truncated
_BODY_LOG_SUV = 0.1  # smoothed log1p(SUV) above which a voxel counts


def noise_level(suv: Volume, spacing_mm: Spacing) -> float | None:
    """Return the mean absolute difference of a scan and itself smoothed, without unit.

    The measure is Σ|v - G∗v| / #(G∗v > 0.1) with v = log1p(SUV), computed at voxels of 1.65 mm;
    G is a Gaussian with a standard deviation of 2 voxels.

    suv         the scan [i, j, k] in SUV
    spacing_mm  its voxel size

    Returns None if no voxel is above 0.1.
    """
    import torch

    from petdiff.volume.filters import gaussian_smooth

    volume = _at_noise_voxels(suv, spacing_mm)

    def difference_and_count(part: Span) -> tuple[float, int]:
        v = np.log1p(np.maximum(volume[..., part.read], 0))
        smooth = gaussian_smooth(torch.from_numpy(v), _SIGMA).numpy()[..., part.inner]
        difference = np.abs(v[..., part.inner] - smooth).sum(dtype=np.float64)
        return float(difference), int((smooth > _BODY_LOG_SUV).sum())

    parts = map_plane_ranges(difference_and_count, volume.shape[2], _REACH)
    count = sum(part[1] for part in parts)
    return sum(part[0] for part in parts) / count if count else None


def _at_noise_voxels(suv: Volume, spacing_mm: Spacing) -> Volume:
    """Return the scan resampled to voxels of 1.65 mm; unchanged if it has such voxels."""
    if np.allclose(spacing_mm, NOISE_VOXEL_MM, rtol=0.02):
        return suv
    from petdiff.volume.planes import as_tensor
    from petdiff.volume.resample import resample

    affine = np.diag([*spacing_mm, 1.0])
    resampled, _ = resample(as_tensor(suv), affine, (NOISE_VOXEL_MM,) * 3)
    return np.asarray(resampled.numpy())
