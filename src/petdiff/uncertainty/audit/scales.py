"""Scans smoothed at the scales of small lesions, on a coarse grid that saves time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from petdiff.image import spacing_of
from petdiff.volume.regions import Affine, Box, Spacing, Volume, block_means

SMALLEST_MM, STEPS = 4.0, 5  # radii 4 … 16 mm, a factor √2 apart: balls of 8 mm to 3 cm
RADII_MM = tuple(SMALLEST_MM * 2 ** (n / 2) for n in range(STEPS))
_PER_OCTAVE = 2  # steps after which a radius has doubled
_WORKING_MM = 3.5  # the largest blocks of voxels; a ball of 8 mm has about six
SIGMA_PER_RADIUS = 5**-0.5  # of the Gaussian with the second moment of the ball


@dataclass(frozen=True, eq=False)
class WorkingGrid:
    """Blocks of a scan's voxels, about 2 to 3.5 mm wide; single voxels if these are larger.

    first_voxel  index of the first voxel of each block, by axis, ascending by the same step
    """

    shape_of_scan: tuple[int, int, int]
    affine_of_scan: Affine
    spacing_mm: Spacing
    first_voxel: tuple[NDArray[np.intp], ...]

    @classmethod
    def of(cls, shape: tuple[int, int, int], affine: Affine) -> WorkingGrid:
        """Return the working grid of a scan."""
        sizes = spacing_of(affine)
        every = [max(int(_WORKING_MM / size + 1e-6), 1) for size in sizes]
        a, b, c = (size * n for size, n in zip(sizes, every, strict=True))
        edges = [np.arange(0, n, step) for n, step in zip(shape, every, strict=True)]
        return cls(shape, affine, (a, b, c), tuple(edges))

    def within(self, box: Box) -> WorkingGrid:
        """Return the part of the grid in a box."""
        first = tuple(starts[part] for starts, part in zip(self.first_voxel, box, strict=True))
        return replace(self, first_voxel=first)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Blocks along i, j, k."""
        i, j, k = (len(first) for first in self.first_voxel)
        return i, j, k

    @property
    def affine(self) -> Affine:
        """Block index → mm, RAS+."""
        first = np.array([starts[0] for starts in self.first_voxel])
        affine = self.affine_of_scan.copy()
        affine[:3, :3] *= self._voxels_a_block
        affine[:3, 3] += self.affine_of_scan[:3, :3] @ (first + (self._voxels_a_block - 1) / 2)
        return affine

    @property
    def _voxels_a_block(self) -> NDArray[np.intp]:
        own_mm = spacing_of(self.affine_of_scan)
        return np.asarray(np.rint(np.divide(self.spacing_mm, own_mm)), dtype=np.intp)

    def means(self, values: Volume) -> Volume:
        """Return the means of a scan's values [i, j, k] over the blocks of the whole grid."""
        if self.shape == self.shape_of_scan:
            return values
        return block_means(values, list(self.first_voxel)).astype(np.float32)

    def voxel(self, block: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the index of the scan's voxel in the middle of a block."""
        first = np.array([starts[at] for starts, at in zip(self.first_voxel, block, strict=True)])
        stop = np.minimum(first + self._voxels_a_block, self.shape_of_scan)
        i, j, k = (int(n) for n in (first + stop - 1) // 2)
        return i, j, k

    def position_mm(self, block: tuple[int, int, int]) -> tuple[float, float, float]:
        """Return the position of the voxel in the middle of a block, in mm, RAS+."""
        x, y, z = (self.affine_of_scan @ [*self.voxel(block), 1])[:3]
        return float(x), float(y), float(z)


@dataclass(frozen=True, eq=False)
class AtScale:
    """A scan averaged over balls of one radius.

    mean  mean of the ball around each voxel
    wide  mean of a ball of twice the radius, which is also the mean of another scale
    """

    radius_mm: float
    mean: Volume
    wide: Volume

    @property
    def contrast(self) -> Volume:
        """Contrast of a focus: `mean` minus `wide`. It is computed at each call, not stored."""
        return self.mean - self.wide

    def contrast_at(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the contrast of the voxels of a mask."""
        return self.mean[mask] - self.wide[mask]


def at_scales(scan: Volume, spacing_mm: Spacing) -> Iterator[AtScale]:
    """Yield a scan at each of the radii that its voxels allow, from small to large.

    Gaussians replace balls. The difference of the two Gaussians does not respond to a uniform
    change. In white noise, its signal-to-noise ratio is 0.87 of that of the smaller Gaussian alone
    for a ball of this radius, and 0.95 for a focus with the shape of that Gaussian.
    """
    from petdiff.volume.filters import smoothed_array

    radii = [SMALLEST_MM * 2 ** (n / _PER_OCTAVE) for n in range(STEPS + _PER_OCTAVE)]
    blurred: list[Volume] = []
    image, reached_mm = scan, 0.0
    for n, radius in enumerate(radii):
        sigma_mm = radius * SIGMA_PER_RADIUS
        step_mm = float(np.sqrt(sigma_mm**2 - reached_mm**2))
        image, reached_mm = smoothed_array(image, [step_mm / size for size in spacing_mm]), sigma_mm
        blurred.append(image)
        inner = n - _PER_OCTAVE
        if inner >= 0:
            centre = blurred[inner]
            blurred[inner] = image[:0]  # releases the memory
            if 2 * radii[inner] >= max(spacing_mm):
                yield AtScale(radii[inner], centre, image)
