"""Voxel grids in the patient's coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.simulation.shapes.random_fields import Axes
from petdiff.simulation.shapes.signed_distance import Triple


@dataclass(frozen=True)
class Grid:
    """A voxel grid: shape [i, j, k], size in mm, and the centre of voxel (0, 0, 0) in mm.

    Patient coordinates are RAS+: x right from the midline, y forward, z up from the soles.
    """

    shape: tuple[int, int, int]
    voxel_mm: Triple
    origin_mm: Triple

    @property
    def affine(self) -> NDArray[np.float64]:
        """Return the matrix from voxel index to mm, as in PETImage."""
        affine = np.diag([*self.voxel_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def axes_mm(self) -> Axes:
        """Return the voxel centres along each axis in mm."""
        x, y, z = (
            o + v * np.arange(n)
            for o, v, n in zip(self.origin_mm, self.voxel_mm, self.shape, strict=True)
        )
        return x, y, z

    def part(self, start: int, stop: int) -> Grid:
        """Return the grid of the slices from start to stop."""
        x, y, z = self.origin_mm
        shape = (self.shape[0], self.shape[1], stop - start)
        return Grid(shape, self.voxel_mm, (x, y, z + start * self.voxel_mm[2]))

    @classmethod
    def around(cls, low_mm: Triple, high_mm: Triple, voxel_mm: Triple) -> Grid:
        """Return the smallest grid that contains a box; both have the same centre."""
        shape, origin = [], []
        for low, high, voxel in zip(low_mm, high_mm, voxel_mm, strict=True):
            count = int(np.ceil((high - low) / voxel - 1e-6))
            shape.append(count)
            origin.append((low + high) / 2 - (count - 1) / 2 * voxel)
        return cls((shape[0], shape[1], shape[2]), voxel_mm, (origin[0], origin[1], origin[2]))
