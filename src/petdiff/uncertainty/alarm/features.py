"""Features of a scan: its noise, the noise spectrum, the uptake and the extent of the body."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import (
    convolve1d,
    distance_transform_edt,
    gaussian_filter,
)

from petdiff.image import PETImage
from petdiff.volume.orientation import with_axis_last
from petdiff.volume.regions import (
    AIR_SHARE,
    Blocks,
    Mask,
    Spacing,
    Volume,
    above_air,
    block_edges,
    block_means,
    body_mask,
    bounding_box,
    filled_slices,
    grown,
    typical_uptake,
)

VOXEL_MM = 5.0  # approximate block size for noise, so that scans of any voxels are comparable
UPTAKE_MM = 8.0
RIM_MM = 20.0  # depth of the outermost tissue
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
_MAX_VOXELS = 4_000_000
_SMOOTH_VOXELS = 2.0
_FAINTEST = 0.01  # of typical uptake
_CROPPED_SHARE = 0.1  # of the sides of a scan; arms at the edge of the field cover less

HISTOGRAM = tuple(f"uptake, {100 * q:g}th percentile" for q in QUANTILES)
WORDS = {
    "noise": "noise level",
    "colour": "noise spectrum",
    "axial": "noise along the body over that across it",
    "tails": "outliers of the noise",
    **{name: name for name in HISTOGRAM},
    "scale": "mean uptake of the body",
    "rim": "uptake of the outermost tissue",
    "air": "activity outside the body",
    "length": "length of the scan",
    "section": "cross-section of the body",
    "field": "share of the field that is body",
}


def scan_features(image: PETImage) -> dict[str, float]:
    """Return the features of a scan by name, without those that it does not have.

    They are shares or logarithms of ratios, so that they do not depend on the unit. Only `scale`,
    the mean uptake of the body, is that of a scan in SUV, and other scans do not have it. A scan
    that is cropped within the body has no features of the body's width and of the air around it.
    The result is empty if no voxel is positive.
    """
    volume, voxel_mm = with_axis_last(image)
    every = [max(round(VOXEL_MM / size), 1) for size in voxel_mm]
    x, y, z = (size * n for size, n in zip(voxel_mm, every, strict=True))
    spacing = (x, y, z)
    edges = [np.arange(0, n, step) for n, step in zip(volume.shape, every, strict=True)]
    values = block_means(volume, edges).astype(np.float32)
    body = body_mask(values, spacing)
    typical = typical_uptake(values[body]) if body.any() else 0.0
    if typical <= 0:
        return {}
    blocks = block_means(volume, block_edges(volume.shape, voxel_mm, UPTAKE_MM))
    found = _noise(values, typical) | _uptake(blocks, typical) | _coverage(body, spacing)
    if not _is_cropped(body):
        found |= _width(body, spacing) | _rim(values, body, spacing, typical)
        outside = np.abs(values[~body]).mean()
        found["air"] = float(np.log(max(outside / typical, 1e-4)))
    if image.in_suv:
        found["scale"] = float(np.log(_mean_uptake(blocks)))
    return found


def _noise(values: Volume, typical: float) -> dict[str, float]:
    """Return level, spectrum, direction and outliers of the noise, relative to the activity."""
    n = values.shape[2]
    most = max(_MAX_VOXELS // (values.shape[0] * values.shape[1]), 16)
    part = values[..., max((n - most) // 2, 0) : (n + most) // 2 + 1]
    around = gaussian_filter(part, _SMOOTH_VOXELS)
    inside = around > 0.5 * typical
    if not inside.any():
        return {}
    activity = around[inside]
    across = [np.abs(_second(part, axis)[inside] / activity) for axis in range(3)]
    twice = part
    for axis in range(3):
        twice = _second(twice, axis)
    four = twice
    for axis in range(3):
        four = _second(four, axis)
    level, fourth = (np.abs(one[inside] / activity) for one in (twice, four))
    middle = max(float(np.median(level)), 1e-6)
    first, second, axial = (max(float(np.median(one)), 1e-6) for one in across)
    return {
        "noise": float(np.log(middle)),
        "colour": float(np.log(max(float(np.median(fourth)), 1e-7) / middle)),
        "axial": float(np.log(axial / np.sqrt(first * second))),
        "tails": float(np.log(max(float(np.quantile(level, 0.99)), 1e-6) / middle)),
    }


def _second(values: Volume, axis: int) -> Volume:
    return np.asarray(convolve1d(values, [-0.25, 0.5, -0.25], axis=axis, mode="nearest"))


def _uptake(blocks: Blocks, typical: float) -> dict[str, float]:
    """Return quantiles of uptake in the body's blocks of 8 mm, over that of ordinary tissue."""
    body = blocks[blocks > AIR_SHARE * typical]
    if not body.size:
        return {}
    found = np.quantile(body, QUANTILES) / typical
    logs = np.log(np.maximum(found, _FAINTEST))
    return {name: float(value) for name, value in zip(HISTOGRAM, logs, strict=True)}


def _mean_uptake(blocks: Blocks) -> float:
    """Return the mean over the body with its cavities.

    Its outline is found in the smoothed scan, so that it is the same at 1/100 of the dose.
    """
    smooth = gaussian_filter(blocks, 1.0, mode="nearest")
    outline = filled_slices(above_air(smooth))
    return max(float(blocks[outline].mean()), 1e-6)


def _is_cropped(body: Mask) -> bool:
    """Return whether much of the scan's sides is body; they are air if the scan is not cropped."""
    sides = np.concatenate([body[[0, -1]].ravel(), body[:, [0, -1]].ravel()])
    return bool(sides.mean() > _CROPPED_SHARE)


def _coverage(body: Mask, spacing_mm: Spacing) -> dict[str, float]:
    return {"length": float(np.log(body.any(axis=(0, 1)).sum() * spacing_mm[2]))}


def _rim(values: Volume, body: Mask, spacing_mm: Spacing, typical: float) -> dict[str, float]:
    """Return the uptake of the outermost tissue, mostly fat and muscle, over that of the body."""
    # With a voxel of air around the body, from which the depth is measured.
    box = grown(bounding_box(body), body.shape, spacing_mm, max(spacing_mm))
    values, body = values[box], body[box]
    deep = distance_transform_edt(body, sampling=spacing_mm)
    # Larger voxels have a rim of one voxel.
    rim = values[body & (deep <= max(RIM_MM, *spacing_mm))].mean()
    return {"rim": float(np.log(max(rim / typical, _FAINTEST)))}


def _width(body: Mask, spacing_mm: Spacing) -> dict[str, float]:
    sections = body.sum(axis=(0, 1))
    sections = sections[sections > 0] * spacing_mm[0] * spacing_mm[1]
    return {"section": float(np.log(np.median(sections))), "field": float(body.mean())}
