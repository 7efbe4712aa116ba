"""Compute the fraction of each voxel within planar contours that are stacked along one axis.

All coordinates are voxel indices of the grid, so that voxel n reaches from n − ½ to n + ½.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_LINES = 16  # across a voxel
# Voxels: outlines of one slice may differ by the rounding of their coordinates, and contours of the
# thinnest slices of CT are farther apart on the thickest of PET.
_SAME_PLANE = 0.05


def plane_shares(outlines: Sequence[Points], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the fraction of each pixel [a, b] within closed outlines [n, 2] of one plane.

    A point is inside if a ray from it crosses the outlines an odd number of times: an outline
    within another is a hole. Shares are exact along the first axis, and averages over 16 lines
    across the second.
    """
    lines, x = _crossings(outlines, shape[1] * _LINES)
    enter, leave = x.reshape(-1, 2).clip(-0.5, shape[0] - 0.5).T
    row = lines[::2] // _LINES
    first, last = (np.floor(at + 0.5).astype(int).clip(0, shape[0] - 1) for at in (enter, leave))
    # Count voxels from the first to the last fully; then subtract the uncovered parts of both.
    steps = np.zeros((shape[0] + 1, shape[1]))
    np.add.at(steps, (first, row), 1)
    np.add.at(steps, (last + 1, row), -1)
    shares = np.cumsum(steps, axis=0)[:-1]
    np.subtract.at(shares, (first, row), enter - (first - 0.5))
    np.subtract.at(shares, (last, row), last + 0.5 - leave)
    return shares / _LINES


def area(outlines: Sequence[Points]) -> float:
    """Return the area in pixels within closed outlines [n, 2] of one plane, on and off the grid."""
    across = np.concatenate(outlines)[:, 1]
    first, last = np.floor(across.min()), np.ceil(across.max())
    lines = int(last - first + 1) * _LINES
    _, x = _crossings([one - (0, first) for one in outlines], lines)
    enter, leave = x.reshape(-1, 2).T
    return float((leave - enter).sum()) / _LINES


def _crossings(outlines: Sequence[Points], lines: int) -> tuple[NDArray[np.intp], Points]:
    """Return the intersections of outlines with lines along the first axis: line, coordinate.

    They are sorted by both. Line m is at (m + ½) / 16 − ½ of the second axis and is crossed an even
    number of times.
    """
    edges = np.concatenate([np.stack([one, np.roll(one, -1, axis=0)], 1) for one in outlines])
    start, end = edges[:, 0], edges[:, 1]
    # The lines from the lower end of an edge (included) to the upper end (excluded).
    reach = np.ceil((np.sort(edges[:, :, 1], axis=1) + 0.5) * _LINES - 0.5).clip(0, lines)
    counts = (reach[:, 1] - reach[:, 0]).astype(int)
    edge = np.repeat(np.arange(len(edges)), counts)
    nth = np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts)
    line = reach[edge, 0].astype(int) + nth
    along = ((line + 0.5) / _LINES - 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + along * (end[edge, 0] - start[edge, 0])
    order = np.lexsort((x, line))
    return line[order], x[order]


def stacked_shares(
    planes: Sequence[float],
    areas: Sequence[NDArray[np.float64]],
    slices: int,
    longest: float = np.inf,
) -> NDArray[np.float64]:
    """Return fractions [a, b, slice] of areas [a, b] at ascending plane positions.

    longest  as in `plane_ends`
    """
    shares = np.zeros((*areas[0].shape, slices))
    for (low, high), covered in zip(plane_ends(planes, longest), areas, strict=True):
        for k in range(max(int(np.floor(low + 0.5)), 0), slices):
            part = min(high, k + 0.5) - max(low, k - 0.5)
            if part <= 0:
                break
            shares[:, :, k] += part * covered
    return np.minimum(shares, 1.0)


def plane_ends(planes: Sequence[float], longest: float = np.inf) -> list[tuple[float, float]]:
    """Return between which positions each of ascending planes extends.

    A plane extends halfway to its neighbours. The first and the last plane, and planes at a gap,
    extend by half the median distance. A single plane extends over one slice.

    longest  planes farther apart than that belong to parts of their own; if all are, each extends
             over one slice
    """
    at = np.asarray(planes, dtype=np.float64)
    gaps = np.diff(at)
    near = gaps[gaps <= longest]
    usual = float(np.median(near)) if near.size else 1.0
    halves = np.where(gaps <= min(1.5 * usual, longest), gaps, usual) / 2
    below, above = np.append(usual / 2, halves), np.append(halves, usual / 2)
    return list(zip((at - below).tolist(), (at + above).tolist(), strict=True))


def by_plane(outlines: Sequence[Points]) -> tuple[list[float], list[list[Points]]]:
    """Sort outlines [n, 3] by their third coordinate into planes: positions and outlines."""
    positions: list[float] = []
    groups: list[list[Points]] = []
    for one in sorted(outlines, key=lambda points: float(points[:, 2].mean())):
        z = float(one[:, 2].mean())
        if not positions or z - positions[-1] > _SAME_PLANE:
            positions.append(z)
            groups.append([])
        groups[-1].append(one[:, :2])
    return positions, groups
