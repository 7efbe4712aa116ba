"""A pair of scans at the scales of small lesions, on a grid that is coarse enough to be quick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.volume.plane_ranges import smoothed
from petdiff.volume.regions import Spacing, block_sums, block_volumes

Volume = NDArray[np.float32]
Affine = NDArray[np.float64]

SMALLEST_MM, STEPS = 4.0, 5  # radii 4 … 16 mm, a factor √2 apart: balls of 8 mm to 3 cm
RADII_MM = tuple(SMALLEST_MM * 2 ** (n / 2) for n in range(STEPS))
_PER_OCTAVE = 2  # steps after which a radius has doubled
_WORKING_MM = 3.5  # the largest voxels that are made of smaller ones: a ball of 8 mm holds five
SIGMA_PER_RADIUS = 5**-0.5  # a Gaussian has then the second moment of the ball


@dataclass(frozen=True, eq=False)
class WorkingGrid:
    """Blocks of a scan's voxels, each about 2 to 3.5 mm wide; the voxels themselves if larger.

    first_voxel  index of the first voxel of each block, by axis
    """

    shape_of_scan: tuple[int, int, int]
    affine_of_scan: Affine
    spacing_mm: Spacing
    first_voxel: tuple[NDArray[np.intp], ...]

    @classmethod
    def of(cls, shape: tuple[int, int, int], affine: Affine) -> WorkingGrid:
        """Return the working grid of a scan."""
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        every = [max(int(_WORKING_MM / size + 1e-6), 1) for size in sizes]
        a, b, c = (float(size * n) for size, n in zip(sizes, every, strict=True))
        edges = [np.arange(0, n, step) for n, step in zip(shape, every, strict=True)]
        return cls(shape, affine, (a, b, c), tuple(edges))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Blocks along i, j, k."""
        i, j, k = (len(first) for first in self.first_voxel)
        return i, j, k

    @property
    def affine(self) -> Affine:
        """Block index → mm, RAS+."""
        every = [round(size / own) for size, own in zip(self.spacing_mm, self._own_mm, strict=True)]
        affine = self.affine_of_scan.copy()
        affine[:3, :3] *= every
        affine[:3, 3] += self.affine_of_scan[:3, :3] @ ((np.array(every) - 1) / 2)
        return affine

    @property
    def _own_mm(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(self.affine_of_scan[:3, :3], axis=0))

    def means(self, values: Volume) -> Volume:
        """Return the means of a scan's values [i, j, k] over the blocks."""
        if self.shape == self.shape_of_scan:
            return values
        edges = list(self.first_voxel)
        found = block_sums(values, edges) / block_volumes(values.shape, edges)
        return found.astype(np.float32)

    def voxel(self, place: NDArray[np.intp]) -> tuple[int, int, int]:
        """Return the scan's voxel in the middle of a block."""
        found = []
        for first, n, at in zip(self.first_voxel, self.shape_of_scan, place, strict=True):
            stop = first[at + 1] if at + 1 < len(first) else n
            found.append(int((first[at] + stop - 1) // 2))
        return found[0], found[1], found[2]

    def position_mm(self, place: NDArray[np.intp]) -> tuple[float, float, float]:
        """Return where the voxel in the middle of a block lies, in mm, RAS+."""
        x, y, z = (self.affine_of_scan @ [*self.voxel(place), 1])[:3]
        return float(x), float(y), float(z)


@dataclass(frozen=True, eq=False)
class AtScale:
    """A scan seen through balls of one radius.

    mean      of the ball around each voxel
    wide      of a ball of twice the radius, which other scales share
    """

    radius_mm: float
    mean: Volume
    wide: Volume

    @property
    def contrast(self) -> Volume:
        """How far a focus stands out: `mean` less `wide`, computed anew and not held."""
        return self.mean - self.wide


def at_scales(scan: Volume, spacing_mm: Spacing) -> Iterator[AtScale]:
    """Yield a scan at each of the radii that its voxels allow, from small to large.

    Gaussians stand for balls. Of all centres with a surround of the same shape, this one has 0.95
    of the signal-to-noise ratio of the plain Gaussian in white noise, and sees no uniform change.
    """
    radii = [SMALLEST_MM * 2 ** (n / _PER_OCTAVE) for n in range(STEPS + _PER_OCTAVE)]
    blurred: list[Volume] = []
    image, reached_mm = scan, 0.0
    for n, radius in enumerate(radii):
        sigma_mm = radius * SIGMA_PER_RADIUS
        step_mm = float(np.sqrt(sigma_mm**2 - reached_mm**2))
        image, reached_mm = smoothed(image, [step_mm / size for size in spacing_mm]), sigma_mm
        blurred.append(image)
        inner = n - _PER_OCTAVE
        if inner >= 0:
            centre = blurred[inner]
            blurred[inner] = image[:0]  # not needed any more
            if 2 * radii[inner] >= max(spacing_mm):
                yield AtScale(radii[inner], centre, image)
