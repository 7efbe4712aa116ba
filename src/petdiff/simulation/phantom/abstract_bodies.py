"""Abstract bodies: random smooth shapes for training on edges, contrasts and textures.

A network that is trained on anatomies only learns to expect them. These bodies have a skin, cold
and hot organs, shells, tubes and foci, whose number, size, uptake and texture vary far more than in
patients. All lengths are in voxels, so a body can have any voxel size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Volume = NDArray[np.float32]

_MU_TISSUE, _MU_LUNG, _MU_BONE = 0.097, 0.030, 0.155  # per cm at 511 keV


@dataclass(frozen=True)
class AbstractBody:
    """Activity [i, j, k], which is 1 in the background, and mu_per_cm [i, j, k] at 511 keV."""

    activity: Volume
    mu_per_cm: Volume


def draw_body(rng: np.random.Generator, shape: tuple[int, int, int]) -> AbstractBody:
    """Draw a body that fills most of the field."""
    coordinates = _warped_coordinates(rng, shape)
    skin = _skin(rng, coordinates, shape)
    body = _inside_fraction(skin)
    activity = np.where(skin < -rng.uniform(0, 4), 1.0, rng.uniform(0.15, 0.6)).astype(np.float32)
    mu = np.full(shape, _MU_TISSUE, dtype=np.float32)
    log_sd = rng.uniform(0.4, 1.3)
    uptakes = np.exp(rng.normal(0, log_sd, size=rng.integers(15, 120)))
    if rng.random() < 0.4:
        uptakes[uptakes > np.quantile(uptakes, 0.9)] *= rng.uniform(1, 12)
    folds = _folds(rng, shape)
    for uptake in uptakes:
        _add_organ(rng, activity, mu, coordinates, folds, float(uptake))
    add_foci(rng, activity, coordinates)
    activity *= _texture(rng, shape)
    return AbstractBody(activity * body, mu * body)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def add_foci(rng: np.random.Generator, activity: Volume, coordinates: NDArray[np.float32]) -> None:
    """Add a few small hot foci to `activity` [i, j, k], in place.

    The foci are ellipsoids in `coordinates` [3, i, j, k], which are in voxels.
    """
    for _ in range(rng.poisson(8)):
        contrast = log_uniform(rng, 1.3, 30)
        _add_focus(rng, activity, coordinates, contrast)


def _warped_coordinates(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return voxel indices [3, i, j, k], displaced smoothly and randomly by a few voxels."""
    indices = np.indices(shape, dtype=np.float32)
    coarse = [max(4, round(n / rng.uniform(8, 24))) for n in shape]
    displacement = [_resize(rng.normal(0, 1, coarse), shape) for _ in range(3)]
    return indices + np.float32(rng.uniform(0.5, 3.5)) * np.stack(displacement)


def _skin(
    rng: np.random.Generator, coordinates: NDArray[np.float32], shape: tuple[int, int, int]
) -> Volume:
    """Return the distance to the skin in voxels, negative inside: a trunk, sometimes with arms."""
    ni, nj, nk = shape
    slant = rng.normal(0, 0.15, size=2)
    z = coordinates[2] - nk / 2
    x = coordinates[0] - ni / 2 - slant[0] * z
    y = coordinates[1] - nj / 2 - slant[1] * z
    a, b = rng.uniform(0.22, 0.45) * ni, rng.uniform(0.22, 0.45) * nj
    taper = 1 + rng.normal(0, 0.1) * z / nk
    power = rng.uniform(1.8, 3.2)
    radius = (np.abs(x / a) ** power + np.abs(y / b) ** power) ** (1 / power)
    skin = (radius - taper) * min(a, b)
    if rng.random() < 0.3:
        arm = rng.uniform(0.05, 0.09) * ni
        for side in (-1, 1):
            distance = np.hypot(x - side * (a + arm + 2), y - rng.normal(0, 0.1) * nj)
            skin = np.minimum(skin, distance - arm)
    return np.asarray(skin, dtype=np.float32)


def _add_organ(
    rng: np.random.Generator,
    activity: Volume,
    mu: Volume,
    coordinates: NDArray[np.float32],
    folds: Volume,
    uptake: float,
) -> None:
    """Blend one ellipsoid, shell, tube or folded mass into `activity` and `mu`, in place."""
    shape = np.array(activity.shape)
    centre = rng.uniform(0.15, 0.85, 3) * shape
    radii = np.exp(rng.uniform(np.log(1.5), np.log(0.22 * shape[0]), 3))
    tube = rng.random() < 0.25
    if tube:
        radii[:2] = rng.uniform(1.0, 4.0)
        radii[2] = rng.uniform(8, 40)
    box = _box(centre, float(radii.max()) + 8, activity.shape)
    if box is None:
        return
    offset = coordinates[(slice(None), *box)] - centre.astype(np.float32)[:, None, None, None]
    rotated = np.tensordot(_rotation(rng), offset, axes=1)
    scaled = rotated / radii.astype(np.float32)[:, None, None, None]
    distance = (np.sqrt((scaled**2).sum(0)) - 1) * np.float32(np.sort(radii)[:2].mean())
    inside = _inside_fraction(distance)
    kind = rng.random()
    if not tube and kind < 0.2:
        inside = inside - _inside_fraction(distance + rng.uniform(1.5, 4.0))  # a shell
    elif kind < 0.4:
        inside = inside * folds[box]
    activity[box] += inside * (uptake - activity[box])
    density = rng.choice([_MU_LUNG, _MU_BONE, _MU_TISSUE], p=[0.08, 0.17, 0.75])
    mu[box] += inside * (density - mu[box])


def _add_focus(
    rng: np.random.Generator, activity: Volume, coordinates: NDArray[np.float32], contrast: float
) -> None:
    """Add a small hot focus with `contrast` times the activity around it."""
    shape = activity.shape
    centre = rng.uniform(0.2, 0.8, 3) * np.array(shape)
    radius = log_uniform(rng, 0.6, 5.0)
    box = _box(centre, radius + 8, shape)
    if box is None:
        return
    offset = coordinates[(slice(None), *box)] - centre.astype(np.float32)[:, None, None, None]
    stretch = np.exp(rng.normal(0, 0.25, 3)).astype(np.float32)[:, None, None, None]
    inside = _inside_fraction(np.sqrt(((offset / stretch) ** 2).sum(0)) - radius)
    background = float(activity[tuple(np.minimum(centre.astype(int), np.array(shape) - 1))])
    activity[box] += inside * (contrast - 1) * max(background, 0.2)


def _texture(rng: np.random.Generator, shape: tuple[int, int, int]) -> Volume:
    """Return a smooth log-normal field with a mean near 1."""
    coarse = [max(3, round(n / rng.uniform(3, 20))) for n in shape]
    strength = rng.choice([0.0, rng.uniform(0.02, 0.35)])
    field = _resize(rng.normal(0, 1, coarse), shape)
    return np.asarray(np.exp(np.float32(strength) * field), dtype=np.float32)


def _folds(rng: np.random.Generator, shape: tuple[int, int, int]) -> Volume:
    """Return a pattern of 0 and 1 in winding layers a few voxels thick, as in cortex or bowel."""
    thickness = rng.uniform(1.0, 3.0)
    field = gaussian_filter(rng.normal(0, 1, shape).astype(np.float32), thickness)
    return _inside_fraction(field / np.float32(field.std()) * np.float32(2 * thickness))


def _resize(field: NDArray[np.float64], shape: tuple[int, int, int]) -> Volume:
    factors = [n / m for n, m in zip(shape, field.shape, strict=True)]
    out = zoom(
        gaussian_filter(field.astype(np.float32), 0.5),
        factors,
        order=1,
        grid_mode=True,
        mode="nearest",
    )
    return np.asarray(out / max(float(out.std()), 1e-6), dtype=np.float32)


def _inside_fraction(distance: NDArray[np.floating]) -> Volume:
    """Return the fraction of each voxel inside a surface at a signed distance in voxels.

    Distances are negative inside.
    """
    return np.asarray(np.clip(0.5 - distance, 0, 1), dtype=np.float32)


def _box(
    centre: NDArray[np.float64], margin: float, shape: tuple[int, ...]
) -> tuple[slice, slice, slice] | None:
    low = np.maximum(np.floor(centre - margin), 0).astype(int)
    high = np.minimum(np.ceil(centre + margin) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    i, j, k = (slice(a, b) for a, b in zip(low, high, strict=True))
    return i, j, k


def _rotation(rng: np.random.Generator) -> NDArray[np.float32]:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(q, dtype=np.float32)
