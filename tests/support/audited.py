"""A measured scan of a body and its perfect denoising, for audits of what is done to either."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.image import PETImage

Volume = NDArray[np.float32]
SHAPE, VOXEL_MM = (48, 40, 44), 4.0
AFFINE = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -70], [0, 0, 4, 300], [0, 0, 0, 1]])
PLACE = (20, 17, 25)  # of the lesion, in voxels
NOISE = 0.25  # of the activity, standard deviation of a voxel


def body() -> Volume:
    """A trunk of uptake 1 with an organ of uptake 3, at a resolution of 6 mm."""
    i, j, k = (np.arange(n) - n / 2 for n in SHAPE)
    trunk = (i[:, None, None] / 20) ** 2 + (j[:, None] / 15) ** 2 + 0 * k < 1
    organ = (i[:, None, None] + 9) ** 2 + j[:, None] ** 2 + (k + 8) ** 2 < 25
    return blurred(np.where(trunk, np.where(organ, 3.0, 1.0), 0.0))


def lesion(suv: float, radius_mm: float = 7.0) -> Volume:
    """A ball of more uptake at PLACE, at the same resolution."""
    squares = [(np.arange(n) - at) ** 2 for n, at in zip(SHAPE, PLACE, strict=True)]
    distance = VOXEL_MM * np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    return blurred(np.where(distance <= radius_mm, suv, 0.0))


def measured(activity: Volume, seed: int = 0) -> Volume:
    """The activity with skewed noise that reaches a few millimetres, as reconstructions have."""
    rng = np.random.default_rng(seed)
    shape = 1.0  # of gamma variables of mean 1: smoothed, they have about this noise
    rough = gaussian_filter(rng.gamma(shape, 1 / shape, SHAPE), 0.7)
    relative = (rough - 1) / rough.std()
    return np.asarray(activity * np.maximum(1 + NOISE * relative, 0), dtype=np.float32)


def blurred(activity: NDArray[np.float64]) -> Volume:
    """The activity at a resolution of 6 mm."""
    return gaussian_filter(activity, 6 / 2.355 / VOXEL_MM).astype(np.float32)


def image(values: Volume) -> PETImage:
    """A scan of these values."""
    return PETImage(np.asarray(values, dtype=np.float32), AFFINE)
