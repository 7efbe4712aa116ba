"""The image-quality phantom of NEMA NU 2: six hot spheres and a lung insert in a warm torso.

Geometry: NEMA NU 2-2018, section 7. Fill: as for EARL, 2 kBq/ml in the background and ten times as
much in the spheres. The phantom's axis is k, and the centres of the spheres lie in the middle
slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

DIAMETERS_MM = (37.0, 28.0, 22.0, 17.0, 13.0, 10.0)
RING_MM = 57.2  # distance of the spheres' centres from the axis
SPHERE_WALL_MM = 1.0  # thickness of the wall around the fill; it has no activity
ARC_MM, CORNER_MM, FLAT_MM, FLOOR_MM = 147.0, 77.0, 70.0, 35.0  # radii and offsets of the outline
BODY_WALL_MM = 3.0
LUNG_RADIUS_MM = 25.0
BACKGROUND_BQML, CONTRAST = 2000.0, 10.0
WATER_PER_CM, ACRYLIC_PER_CM, LUNG_PER_CM = 0.096, 0.110, 0.029
SUBVOXELS = 6  # subdivisions of a voxel along each axis, for partial volumes


@dataclass(frozen=True)
class Sphere:
    """A sphere: centre_mm from voxel (0, 0, 0), diameter_mm of the fill, activity_bqml in it."""

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    activity_bqml: float


@dataclass(frozen=True, eq=False)
class ImageQualityPhantom:
    """The phantom: activity_bqml and mu_per_cm (511 keV), [i, j, k]; spheres, largest first."""

    activity_bqml: FloatArray
    mu_per_cm: FloatArray
    spheres: tuple[Sphere, ...]
    voxel_mm: tuple[float, float, float]


def image_quality_phantom(
    voxel_mm: tuple[float, float, float],
    *,
    length_mm: float = 80.0,
    wall_mm: float = SPHERE_WALL_MM,
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> ImageQualityPhantom:
    """Return the phantom on voxels of that size, with partial volumes at the edges.

    length_mm  length that is rendered, about the plane of the spheres
    wall_mm    thickness of the spheres' walls, without activity
    shift_mm   offset of the phantom from the voxel grid, which matters for small spheres
    """
    half_mm = np.array([ARC_MM + 15, FLOOR_MM + CORNER_MM + 15, length_mm / 2])
    shape = np.ceil(2 * half_mm / voxel_mm).astype(int)
    middle_mm = (shape - 1) / 2 * voxel_mm
    axes = [
        (np.arange(n) - (n - 1) / 2) * voxel - shift
        for n, voxel, shift in zip(shape, voxel_mm, shift_mm, strict=True)
    ]
    flat = [axes[0], axes[1], np.zeros(1)]

    def outline(wall: float) -> FloatArray:
        return _covered_fraction(lambda x, y, z: _in_outline(x, y, wall), flat, voxel_mm)

    body, filled = outline(BODY_WALL_MM), outline(0.0)
    insert = _covered_fraction(lambda x, y, z: np.hypot(x, y) < LUNG_RADIUS_MM, flat, voxel_mm)
    water = filled - insert
    activity = np.repeat(BACKGROUND_BQML * water, shape[2], axis=2)
    mu = ACRYLIC_PER_CM * (body - filled) + WATER_PER_CM * water + LUNG_PER_CM * insert
    mu = np.repeat(mu, shape[2], axis=2)
    spheres = []
    for number, diameter_mm in enumerate(DIAMETERS_MM):
        angle = number * np.pi / 3
        centre = np.array([RING_MM * np.cos(angle), RING_MM * np.sin(angle), 0.0])
        box, local = _around(centre, diameter_mm / 2 + wall_mm, axes, voxel_mm)
        outer = _covered_fraction(_ball(centre, diameter_mm / 2 + wall_mm), local, voxel_mm)
        fill = _covered_fraction(_ball(centre, diameter_mm / 2), local, voxel_mm)
        activity[box] += BACKGROUND_BQML * (CONTRAST * fill - outer)
        mu[box] += (ACRYLIC_PER_CM - WATER_PER_CM) * (outer - fill)
        x, y, z = (float(c) for c in centre + shift_mm + middle_mm)
        spheres.append(Sphere((x, y, z), diameter_mm, CONTRAST * BACKGROUND_BQML))
    return ImageQualityPhantom(
        activity.astype(np.float32), mu.astype(np.float32), tuple(spheres), voxel_mm
    )


def recoveries(
    image_bqml: FloatArray, phantom: ImageQualityPhantom
) -> list[tuple[float, float, float]]:
    """Return three recovery coefficients of each sphere: mean, A50 and maximum.

    The mean is over the true sphere. A50 is the mean within EARL's 50 % contour adapted to the
    background. All are relative to the true activity concentration. The contour lies halfway
    between the largest voxel and the background. The background is the median of voxels at least 10
    mm from any sphere's surface, within 82 mm of the axis, and outside the insert.
    """
    positions_mm = [
        (np.arange(n) * voxel).reshape([-1 if axis == a else 1 for a in range(3)])
        for axis, (n, voxel) in enumerate(zip(image_bqml.shape, phantom.voxel_mm, strict=True))
    ]

    def distance_to_mm(centre_mm: tuple[float, float, float]) -> NDArray[np.float64]:
        distance: NDArray[np.float64] = np.sqrt(
            sum((p - c) ** 2 for p, c in zip(positions_mm, centre_mm, strict=True))
        )
        return distance

    axis_mm = np.mean([sphere.centre_mm for sphere in phantom.spheres], axis=0)
    from_axis_mm = np.hypot(positions_mm[0] - axis_mm[0], positions_mm[1] - axis_mm[1])
    ring = (from_axis_mm > LUNG_RADIUS_MM + 15) & (from_axis_mm < 82)
    in_background = np.broadcast_to(ring, image_bqml.shape).copy()
    for sphere in phantom.spheres:
        in_background &= distance_to_mm(sphere.centre_mm) > sphere.diameter_mm / 2 + 10
    background = float(np.median(image_bqml[in_background]))
    coefficients = []
    for sphere in phantom.spheres:
        distance_mm = distance_to_mm(sphere.centre_mm)
        local = image_bqml[distance_mm < sphere.diameter_mm / 2 + 6]
        highest = float(local.max())
        contour = local[local >= (highest + background) / 2]
        within = image_bqml[distance_mm < sphere.diameter_mm / 2]
        values = (float(within.mean()), float(contour.mean()), highest)
        mean, a50, maximum = (value / sphere.activity_bqml for value in values)
        coefficients.append((mean, a50, maximum))
    return coefficients


def _in_outline(
    x: NDArray[np.float64], y: NDArray[np.float64], wall_mm: float
) -> NDArray[np.bool_]:
    """Return which points lie in the torso: half a disc above, two quarter discs below.

    A flat side joins the quarter discs.
    """
    above = np.hypot(x, y + FLOOR_MM) < ARC_MM + wall_mm
    aside = np.maximum(np.abs(x) - FLAT_MM, 0)
    below = np.hypot(aside, y + FLOOR_MM) < CORNER_MM + wall_mm
    inside: NDArray[np.bool_] = np.where(y >= -FLOOR_MM, above, below)
    return inside


def _ball(centre_mm: NDArray[np.float64], radius_mm: float) -> Callable[..., NDArray[np.bool_]]:
    a, b, c = centre_mm
    return lambda x, y, z: (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < radius_mm**2


def _around(
    centre_mm: NDArray[np.float64],
    radius_mm: float,
    axes_mm: list[NDArray[np.float64]],
    voxel_mm: tuple[float, float, float],
) -> tuple[tuple[slice, ...], list[NDArray[np.float64]]]:
    """Return the part of the grid that a sphere overlaps, as slices and as axes."""
    slices = []
    for axis, centre, voxel in zip(axes_mm, centre_mm, voxel_mm, strict=True):
        touched = np.flatnonzero(np.abs(axis - centre) < radius_mm + voxel)
        slices.append(slice(int(touched[0]), int(touched[-1]) + 1))
    return tuple(slices), [axis[part] for axis, part in zip(axes_mm, slices, strict=True)]


def _covered_fraction(
    inside: Callable[..., NDArray[np.bool_]],
    axes_mm: list[NDArray[np.float64]],
    voxel_mm: tuple[float, float, float],
) -> FloatArray:
    """Return the fraction of each voxel that lies inside, from SUBVOXELS parts along each axis.

    An axis of one voxel is not divided.
    """
    x, y, z = np.ix_(*axes_mm)
    parts = (np.arange(SUBVOXELS) + 0.5) / SUBVOXELS - 0.5
    offsets = [
        parts * voxel if len(axis) > 1 else [0.0]
        for axis, voxel in zip(axes_mm, voxel_mm, strict=True)
    ]
    fraction = np.zeros((x.size, y.size, z.size), np.float32)
    for u, v, w in product(*offsets):
        fraction += inside(x + u, y + v, z + w)
    fraction /= np.prod([len(o) for o in offsets])
    return fraction
