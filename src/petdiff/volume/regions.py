"""Regions of a volume: blocks of a few millimetres, spheres, boxes, and the body without air."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, find_objects

from petdiff.volume.plane_ranges import smoothed

Volume = NDArray[np.float32]  # [i, j, k]
Mask = NDArray[np.bool_]  # [i, j, k]
Affine = NDArray[np.float64]  # [4, 4], voxel index → mm, RAS+
Spacing = tuple[float, float, float]  # of voxels along i, j, k, in mm
Box = tuple[slice, slice, slice]  # part of a volume
Blocks = NDArray[np.float64]
AIR_SHARE = 0.12  # of typical uptake; air is below it, fat and lung are above
_SMOOTHING_MM = 4.0
_MOST_DENSE_LABEL = 1 << 16
_LINES = 8, 32  # fewest and most lines across a voxel in `sphere_weights`


def voxel_ml(spacing_mm: Spacing) -> float:
    """Return the volume of a voxel in ml."""
    return float(np.prod(spacing_mm)) / 1000


def block_sums(volume: NDArray[np.floating], edges: list[NDArray[np.intp]]) -> Blocks:
    """Return the sums over the blocks that start at `edges` along each axis, from block_edges."""
    if volume.shape == tuple(map(len, edges)):  # blocks of one voxel
        return volume.astype(np.float64)
    if volume.flags.f_contiguous and not volume.flags.c_contiguous:  # as NIfTI is read
        return block_sums(volume.T, edges[::-1]).T
    ends = np.append(edges[0][1:], len(volume))
    # A few planes at a time in their own precision, the rest in float64: four times faster.
    layers = (volume[a:b].sum(axis=0) for a, b in zip(edges[0], ends, strict=True))
    return np.stack([_sums_along(_sums_along(layer, edges[1], 0), edges[2], 1) for layer in layers])


def _sums_along(values: NDArray[np.floating], starts: NDArray[np.intp], axis: int) -> Blocks:
    """Return the sums over blocks of equal width, the last perhaps narrower, along one axis.

    It adds the first voxels of all blocks, then the second; numpy's reduceat is far slower.
    """
    width = int(starts[1]) if len(starts) > 1 else values.shape[axis]
    turned = np.moveaxis(values, axis, 0)
    sums = turned[::width].astype(np.float64)
    for voxel in range(1, width):
        part = turned[voxel::width]
        sums[: len(part)] += part
    return np.moveaxis(sums, 0, axis)


def block_edges(
    shape: tuple[int, ...], spacing_mm: Spacing, block_mm: float
) -> list[NDArray[np.intp]]:
    """Return the first index of each block of about `block_mm`, per axis; the last may be short."""
    steps = [max(round(block_mm / size), 1) for size in spacing_mm]
    return [np.arange(0, n, step) for n, step in zip(shape, steps, strict=True)]


def block_volumes(shape: tuple[int, ...], edges: list[NDArray[np.intp]]) -> Blocks:
    """Return the number of voxels in each block."""
    x, y, z = (np.diff(starts, append=n) for starts, n in zip(edges, shape, strict=True))
    return np.asarray(x[:, None, None] * y[:, None] * z, dtype=np.float64)


def block_means(volume: NDArray[np.floating], edges: list[NDArray[np.intp]]) -> Blocks:
    """Return the means over the blocks that start at `edges` along each axis."""
    return block_sums(volume, edges) / block_volumes(volume.shape, edges)


def typical_uptake(smooth: NDArray[np.floating]) -> float:
    """Return (Σv / Σ√v)² over positive values: the uptake of ordinary tissue, in v's unit.

    Air and a few very hot organs hardly change it; a plain mean would depend on both.
    """
    positive = np.maximum(smooth, 0).astype(np.float64)
    roots = np.sqrt(positive).sum()
    return float((positive.sum() / roots) ** 2) if roots > 0 else 0.0


def above_air(smooth: NDArray[np.floating]) -> Mask:
    """Return where a smoothed scan is clearly above air: more than 12 % of its typical uptake."""
    return np.asarray(smooth > AIR_SHARE * typical_uptake(smooth))


def body_mask(suv: Volume, spacing_mm: Spacing) -> Mask:
    """Return the body mask: voxels clearly above air after a Gaussian of σ = 4 mm."""
    return above_air(smoothed(suv, [_SMOOTHING_MM / size for size in spacing_mm]))


def filled_slices(body: Mask) -> Mask:
    """Return a body mask with its holes filled slice by slice along k: cold organs are body."""
    return np.stack([binary_fill_holes(plane) for plane in np.moveaxis(body, 2, 0)], axis=2)


def body_mean(values: Volume, spacing_mm: Spacing) -> float:
    """Return the mean over the body, found on blocks of 8 mm; 0 if all is air."""
    means = block_means(values, block_edges(values.shape, spacing_mm, 8.0))
    body = above_air(means)
    return float(means[body].mean()) if body.any() else 0.0


def body_box(suv: Volume, spacing_mm: Spacing) -> Box:
    """Return the box of the body with a margin of 10 mm, found on blocks of 8 mm.

    If all is air, it is the whole volume.
    """
    edges = block_edges(suv.shape, spacing_mm, 8.0)
    body = above_air(block_means(suv, edges))
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        n, margin = suv.shape[axis], round(10 / spacing_mm[axis])
        # At least two blocks of 8 mm: a single bright block may be noise in the air.
        filled = np.flatnonzero(body.sum(axis=others) >= min(2, body.size))
        ends = np.append(edges[axis], n)
        first, last = (ends[filled[0]], ends[filled[-1] + 1]) if len(filled) else (0, n)
        box.append(slice(max(int(first) - margin, 0), min(int(last) + margin, n)))
    return box[0], box[1], box[2]


def sphere_weights(
    shape: tuple[int, ...], spacing_mm: Spacing, centre: Sequence[float], radius_mm: float
) -> tuple[Box, NDArray[np.float64]]:
    """Return a box of voxels, and the share of each that lies within a sphere.

    `centre` is a voxel index and may be fractional. The box is limited to the volume, and empty if
    the sphere lies outside. Shares are exact along the first axis. Across it they are averages over
    at least 8 × 8 lines per voxel.
    """
    box, lower = [], []
    for n, size, at in zip(shape, spacing_mm, centre, strict=True):
        reach = radius_mm / size + 0.5
        first, last = max(int(np.ceil(at - reach)), 0), min(int(np.floor(at + reach)) + 1, n)
        box.append(slice(first, max(last, first)))
        lower.append((np.arange(first, max(last, first)) - 0.5 - at) * size)
    lines = int(np.clip(np.ceil(20 * max(spacing_mm) / radius_mm), *_LINES))
    steps = (np.arange(lines) + 0.5) / lines
    y, z = (np.add.outer(lower[axis], steps * spacing_mm[axis]).ravel() for axis in (1, 2))
    half_chord = np.sqrt(np.maximum(radius_mm**2 - np.add.outer(y**2, z**2), 0))
    x = lower[0][:, None, None]
    chord = np.minimum(x + spacing_mm[0], half_chord) - np.maximum(x, -half_chord)
    split = (len(lower[0]), len(lower[1]), lines, len(lower[2]), lines)
    shares = np.maximum(chord, 0).reshape(split).mean(axis=(2, 4)) / spacing_mm[0]
    return (box[0], box[1], box[2]), shares


def inscribed_sphere(
    mask: NDArray[np.bool_], spacing_mm: Spacing
) -> tuple[tuple[int, int, int], float]:
    """Return the voxel of a region that is farthest from its edge, and its distance in mm.

    The volume's border counts as edge. If several voxels are equally far, the first is returned.
    """
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    i, j, k = np.unravel_index(int(depth.argmax()), mask.shape)
    return (int(i), int(j), int(k)), float(depth[i, j, k])


def ball(
    shape: tuple[int, ...], spacing_mm: Spacing, centre: Sequence[float], radius_mm: float
) -> NDArray[np.bool_]:
    """Return the mask of voxels whose centres lie within a radius of a voxel index."""
    squares = [
        ((np.arange(n) - at) * size) ** 2
        for n, at, size in zip(shape, centre, spacing_mm, strict=True)
    ]
    x, y, z = squares
    return np.asarray(x[:, None, None] + y[:, None] + z <= radius_mm**2)


def grown(box: Box, shape: tuple[int, ...], spacing_mm: Spacing, margin_mm: float) -> Box:
    """Return a box with a margin around it, limited to the volume."""
    wide = [
        slice(max(cut.start - steps, 0), min(cut.stop + steps, n))
        for cut, n, steps in zip(
            box, shape, (int(np.ceil(margin_mm / size)) for size in spacing_mm), strict=True
        )
    ]
    return wide[0], wide[1], wide[2]


def label_boxes(labels: NDArray[np.integer]) -> dict[int, Box]:
    """Return the bounding box of each label above 0, by label, in their order."""
    if int(labels.max(initial=0)) <= _MOST_DENSE_LABEL:
        return {n: box for n, box in enumerate(find_objects(labels), 1) if box is not None}
    # find_objects returns a list as long as the highest label, so labels are renumbered.
    present, places = np.unique(labels, return_inverse=True)
    boxes = find_objects(places.reshape(labels.shape) + 1)
    found = zip(present.tolist(), boxes, strict=True)
    return {n: box for n, box in found if n > 0 and box is not None}


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Return the smallest box that holds all of a mask, which must not be empty."""
    cuts = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        cuts.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return cuts[0], cuts[1], cuts[2]
