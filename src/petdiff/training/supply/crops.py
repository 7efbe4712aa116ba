"""Crops of the user's own scans: random position, rotation and scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from petdiff.data.array_store import Entry, Store
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.training.supply.examples import CELL
from petdiff.training.supply.paired_volumes import Volume
from petdiff.volume.orientation import reoriented
from petdiff.volume.planes import as_tensor
from petdiff.volume.regions import Affine
from petdiff.volume.resample import resample

Box = tuple[slice, ...]

CROP_MARGIN = 32  # voxels by which a crop is larger than a patch
TRANSFORMED_SHARE = 0.5  # share of the crops that are rotated and scaled
MAX_DEGREES = 10.0
MAX_SCALING = 0.1
_BODY = 0.1  # the body has activity above this share of the scan's mean
_HOT_SHARE = 0.3  # share of the crops that are centred on voxels chosen by activity


class Grid(Protocol):
    """The orientation and voxel size that a method needs.

    axes  directions of i, j and k in the patient: three of R/L, A/P, S/I
    """

    @property
    def axes(self) -> str: ...

    def working_voxel_mm(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the voxel size at which a scan of this voxel size is denoised."""
        ...


def on_grid(image: PETImage, grid: Grid) -> PETImage:
    """Return a scan in the orientation and voxel size of a method."""
    scan = reoriented(image, grid.axes)
    voxel_mm = grid.working_voxel_mm(scan.spacing_mm)
    if np.allclose(voxel_mm, scan.spacing_mm, rtol=1e-3):
        return scan
    volume, affine = resample(as_tensor(scan.values), scan.affine, voxel_mm)
    return PETImage(volume.numpy(), affine, unit=scan.unit, in_suv=scan.in_suv)


def draw_entry(rng: np.random.Generator, store: Store, names: Sequence[str]) -> Entry:
    """Draw one of the stored scans. Raises InputRefused if it was removed."""
    name = names[int(rng.integers(len(names)))]
    entry = store.get(name)
    if entry is None:
        raise InputRefused(f"{store.folder / name} is gone: start the run anew")
    return entry


def draw_box(
    rng: np.random.Generator, uptake: Volume, shape: tuple[int, ...], crop: tuple[int, ...]
) -> Box:
    """Draw the position of a crop: around a random voxel of the body, or around a hot one.

    uptake  coarse uptake of the scan (`coarse_uptake`)
    shape   of the scan
    crop    voxels of the crop; fewer along axes where the scan is smaller
    """
    hot = rng.random() < _HOT_SHARE
    chance = np.where(uptake > _BODY, uptake if hot else 1.0, 0.0).astype(np.float64).ravel()
    cell = np.unravel_index(rng.choice(chance.size, p=chance / chance.sum()), uptake.shape)
    size = np.minimum(crop, shape)
    first = np.clip(np.array(cell) * CELL - size // 2, 0, np.array(shape) - size)
    return tuple(slice(int(a), int(a + n)) for a, n in zip(first, size, strict=True))


def draw_transform(rng: np.random.Generator) -> Affine | None:
    """Draw a small rotation and scaling, output → input voxels [3, 3]; None: no transform."""
    if rng.random() >= TRANSFORMED_SHARE:
        return None
    axis = rng.normal(size=3)
    angle = np.deg2rad(rng.uniform(-MAX_DEGREES, MAX_DEGREES))
    rotation: Affine = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    return rotation * rng.uniform(1 - MAX_SCALING, 1 + MAX_SCALING)


def transformed(volume: Volume, transform: Affine | None) -> Volume:
    """Return a volume transformed about its centre, by cubic interpolation.

    Linear interpolation would smooth the noise.
    """
    if transform is None:
        return volume
    middle = (np.array(volume.shape) - 1) / 2
    offset = middle - transform @ middle
    interpolated = affine_transform(volume, transform, offset, order=3, mode="mirror")
    lowest = min(0.0, float(volume.min()))
    clipped: Volume = np.maximum(interpolated, lowest, dtype=np.float32)
    return clipped
