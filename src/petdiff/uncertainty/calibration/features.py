"""Features of a measured and a denoised scan that predict the size of the error of denoising.

A feature is not negative and has the unit of the figure whose error it predicts: a scan times two
has features times two, and intervals twice as wide. Features do not depend on the network or the
dose. Volumes are [i, j, k]; widths of Gaussians are standard deviations, in voxels, as in the
local-activity domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.volume.regions import Box, Volume

Features = Mapping[str, float]

VOXEL_FEATURES = ("noise", "activity", "edge", "change")
SUV_FEATURES = (*VOXEL_FEATURES, "noise_of_mean", "shift", "contrast")
FIGURE_FEATURES: Mapping[str, tuple[str, ...]] = {
    "voxel": VOXEL_FEATURES,
    **dict.fromkeys(("suv_mean", "suv_max", "suv_peak"), (*SUV_FEATURES, "value")),
    "volume_41_ml": ("value", "noisy_volume", "flat_volume", "volume_ml"),
    "cov": ("value", "noise", "change", "contrast"),
}
_FINE, _NEAR, _AROUND = 1.0, 2.0, 4.0


@dataclass(frozen=True, eq=False)
class ScanFeatures:
    """The features of each voxel [i, j, k].

    noise     root mean square of the measured scan minus itself smoothed, around the voxel
    activity  the measured scan, smoothed, without negative values
    edge      root mean square of the denoised scan minus itself smoothed, around the voxel
    change    absolute difference of denoised and measured scan, both smoothed
    """

    noise: Volume
    activity: Volume
    edge: Volume
    change: Volume

    @classmethod
    def of(cls, measured: Volume, denoised: Volume) -> ScanFeatures:
        """Return the features of a measured and a denoised scan on one grid."""
        rough = (measured - _smooth(measured, _FINE)) ** 2
        fine = (denoised - _smooth(denoised, _FINE)) ** 2
        return cls(
            noise=np.sqrt(np.maximum(_smooth(rough, _AROUND), 0)),
            activity=_smooth(np.maximum(measured, 0), _NEAR),
            edge=np.sqrt(np.maximum(_smooth(fine, _FINE), 0)),
            change=np.abs(_smooth(denoised - measured, _FINE)),
        )

    def at(self, where: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
        """Return the features of the voxels of a mask, as vectors."""
        return {name: volume[where].astype(np.float64) for name, volume in vars(self).items()}


def region_features(
    scan: ScanFeatures,
    measured: Volume,
    denoised: Volume,
    box: Box,
    weights: NDArray[np.floating],
    volume_ml: float,
) -> dict[str, float]:
    """Return the features of a region: means of the voxels' features, and others.

    measured, denoised  whole volumes
    weights             share of each voxel of `box` that belongs to the region; not all are 0

    noise_of_mean  noise over the square root of the volume in ml: the noise of a mean
    shift          difference of the means of the denoised and the measured scan
    contrast       weighted standard deviation of the denoised scan within the region
    volume_ml      the argument
    """
    total = float(weights.sum())

    def mean(volume: NDArray[np.floating]) -> float:
        return float((weights * volume[box]).sum(dtype=np.float64)) / total

    found = {name: mean(volume) for name, volume in vars(scan).items()}
    centre = mean(denoised)
    variance = float((weights * (denoised[box] - centre) ** 2).sum(dtype=np.float64)) / total
    return found | {
        "noise_of_mean": found["noise"] / float(np.sqrt(max(volume_ml, 1e-6))),
        "shift": abs(centre - mean(measured)),
        "contrast": float(np.sqrt(max(variance, 0.0))),
        "volume_ml": volume_ml,
    }


def figure_features(figure: str, of_region: Features, denoised: float) -> dict[str, float]:
    """Return the features of one figure in its unit, from the `region_features` of a region.

    denoised  the figure in the denoised scan
    """
    value = {"value": abs(denoised)}
    if figure.startswith("suv"):
        return {name: of_region[name] for name in SUV_FEATURES if name in of_region} | value
    activity = max(of_region["activity"], 1e-12)
    noise, contrast = of_region["noise"] / activity, of_region["contrast"] / activity
    if figure == "cov":
        change = of_region["change"] / activity
        return value | {"noise": noise, "change": change, "contrast": contrast}
    return value | {
        "noisy_volume": abs(denoised) * noise,
        "flat_volume": abs(denoised) / (1 + contrast),
        "volume_ml": of_region["volume_ml"],
    }


def _smooth(volume: Volume, sigma: float) -> Volume:
    from petdiff.volume.filters import smoothed_array

    return smoothed_array(np.ascontiguousarray(volume, dtype=np.float32), [sigma] * 3)
