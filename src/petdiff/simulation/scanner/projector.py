"""Strip-integral projection of slices along parallel lines, as a sparse matrix.

Slices are projected independently, as for rebinned data. One view of a stack of slices is therefore
the product of a sparse and a dense matrix. The same expression `matrix @ image` runs in scipy on a
CPU and in torch on a GPU. Shapes: image [i, j, k], view [bin, tof, k], sinogram [angle, bin, tof,
k].
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from copy import copy
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from petdiff.simulation.scanner.banded_matrix import Array, Banded
from petdiff.units import FWHM_PER_SIGMA

TOF_BINS_PER_FWHM = 2.0  # binning widens the time-of-flight kernel by less than 6 %
TOF_BAND_BINS = 8
TOF_TAIL = 1e-5  # a smaller fraction of a node's events is given to the other bins
NODES_PER_TOF_BIN = 3  # nodes are a sixth of the kernel's FWHM apart
CACHED_BELOW = 3_000_000  # pixels × views; matrices up to about 100 MB are cached


class ParallelProjector:
    """Computes strip integrals of images along parallel lines, with or without time of flight.

    A sparse matrix assigns the pixels of each line to evenly spaced nodes along it. A small dense
    matrix, the same for all lines, distributes the nodes over time-of-flight bins.

    shape        pixels (i, j) of a slice, or one number for a square
    voxel_mm     pixel side, which is also the width of a bin
    n_angles     number of views over 180 degrees, a multiple of `subsets`
    subsets      number of ordered subsets. Views and `angles_rad` are stored subset by subset, so
                 that a subset is a contiguous block of the sinogram
    n_bins       bins per view; by default they cover the inscribed circle. Pixels that lie outside
                 the bins in any view are outside the field: they are not projected, and `back`
                 gives zero there
    tof_fwhm_mm  position uncertainty along the line (c/2 times the timing resolution)
    """

    def __init__(
        self,
        shape: int | tuple[int, int],
        voxel_mm: float,
        n_angles: int,
        *,
        subsets: int = 1,
        n_bins: int | None = None,
        tof_fwhm_mm: float | None = None,
    ) -> None:
        if n_angles % subsets:
            raise ValueError(f"n_angles {n_angles} is not a multiple of subsets {subsets}")
        self.shape = (shape, shape) if isinstance(shape, int) else shape
        self.voxel_mm = float(voxel_mm)
        self.subsets = subsets
        self.n_bins = n_bins or max(self.shape)
        self.tof_fwhm_mm = tof_fwhm_mm
        self._device: Any = None
        self.angles_rad = _angles_in_subset_order(n_angles, subsets)
        self._set_tof_kernel(_tof_kernel(self.n_bins, tof_fwhm_mm and tof_fwhm_mm / self.voxel_mm))
        n_nodes = self._tof_kernel.shape[1]
        node_px = 1.0 if tof_fwhm_mm is None else _node_px(tof_fwhm_mm / self.voxel_mm)
        self.in_field = _in_field(self.shape, self.n_bins)
        small = np.count_nonzero(self.in_field) * n_angles < CACHED_BELOW
        build = _cached_views if small else _views
        self._forward_views, self._back_views = build(
            self.shape, n_angles, subsets, self.n_bins, n_nodes, round(node_px, 6)
        )

    def _set_tof_kernel(self, kernel: NDArray[np.float32]) -> None:
        """Set the fraction [tof, node] of each node's events in each bin, and matrices in mm."""
        self._tof_kernel = kernel
        self.n_tof = len(kernel)
        mm = kernel * np.float32(self.voxel_mm)
        self._nodes_to_tof = Banded(mm, TOF_BAND_BINS, self.as_array)
        self._tof_to_nodes = Banded(mm.T, TOF_BAND_BINS * NODES_PER_TOF_BIN, self.as_array)

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Return the numbers of views, bins and time-of-flight bins."""
        return len(self.angles_rad), self.n_bins, self.n_tof

    def without_tof(self) -> ParallelProjector:
        """Return a projector without time of flight, as for line integrals of attenuation."""
        projector = copy(self)
        projector.tof_fwhm_mm = None
        projector._set_tof_kernel(self._tof_kernel.sum(axis=0)[None])
        return projector

    def to(self, device: Any) -> ParallelProjector:
        """Return a copy that projects torch tensors on `device`."""
        projector = copy(self)
        projector._forward_views = tuple(_as_torch(view, device) for view in self._forward_views)
        projector._back_views = tuple(_as_torch(view, device) for view in self._back_views)
        projector._device = device
        projector._set_tof_kernel(self._tof_kernel)
        return projector

    def as_array(self, values: Any) -> Array:
        """Return values as float32: a numpy array, or a tensor on the projector's device."""
        array = np.ascontiguousarray(values, np.float32)
        if self._device is None:
            return array
        import torch

        return torch.tensor(array, device=self._device)

    def as_numpy(self, array: Array) -> NDArray[np.float32]:
        """Return an array of the projector as a numpy array: the inverse of `as_array`."""
        values: NDArray[np.float32] = array if self._device is None else array.cpu().numpy()
        return values

    def ones(self, shape: tuple[int, ...]) -> Array:
        """Return ones as an array of the projector's type and device."""
        return self.as_array(np.ones(shape, np.float32))

    def stack(self, arrays: Iterable[Array]) -> Array:
        """Return arrays of one shape stacked along a new first axis."""
        if self._device is None:
            return np.stack(list(arrays))
        import torch

        return torch.stack(list(arrays))

    def views(self, subset: int | None = None) -> range:
        """Return the positions of a subset's views on the angle axis (None: all views)."""
        per_subset = len(self.angles_rad) // self.subsets
        if subset is None:
            return range(len(self.angles_rad))
        return range(subset * per_subset, (subset + 1) * per_subset)

    def forward(self, image: Array) -> Array:
        """Return strip integrals [angle, bin, tof, k] of image [i, j, k], in image unit × mm."""
        return self.stack(self.forward_view(image, view) for view in self.views())

    def back(self, sinogram: Array) -> Array:
        """Return the adjoint of `forward`: image [i, j, k] of a sinogram [angle, bin, tof, k]."""
        return sum(self.back_view(sinogram[view], view) for view in self.views())

    def forward_view(self, image: Array, view: int) -> Array:
        """Return one view's strip integrals [bin, tof, k] of image [i, j, k]."""
        pixels = image.reshape(self.shape[0] * self.shape[1], -1)
        nodes = self._forward_views[view] @ pixels
        return self._nodes_to_tof @ nodes.reshape(self.n_bins, -1, image.shape[2])

    def back_view(self, lines: Array, view: int) -> Array:
        """Return the adjoint of `forward_view`: image [i, j, k] of one view."""
        nodes = (self._tof_to_nodes @ lines).reshape(-1, lines.shape[2])
        return (self._back_views[view] @ nodes).reshape(*self.shape, -1)


def _angles_in_subset_order(n_angles: int, subsets: int) -> NDArray[np.float64]:
    """Return the views' angles, subset by subset; the views of a subset are evenly spaced.

    Successive subsets are rotated by about 0.38 of a subset's angular spacing.
    """
    step = next(
        s for s in range(max(1, round(0.382 * subsets)), subsets + 1) if np.gcd(s, subsets) == 1
    )
    offsets = (np.arange(subsets) * step) % subsets
    order = offsets[:, None] + subsets * np.arange(n_angles // subsets)[None, :]
    # Offset by half a step, so that in no view the strips are parallel to the pixel edges.
    angles_rad: NDArray[np.float64] = (order.ravel() + 0.5) * np.pi / n_angles
    return angles_rad


def _tof_kernel(n_bins: int, tof_fwhm_px: float | None) -> NDArray[np.float32]:
    """Return the fraction of each node's events that falls into each time bin, as [tof, node].

    The outermost bins extend to infinity, so no event is lost. Rounding a pixel's position to the
    nearest node, at a spacing h, adds h² / 12 to the kernel's variance. This variance is subtracted
    here.
    """
    if tof_fwhm_px is None:
        return np.ones((1, 1), np.float32)
    width = tof_fwhm_px / TOF_BINS_PER_FWHM
    count = max(1, int(np.ceil(n_bins / width)))
    edges = (np.arange(count + 1) - count / 2) * width
    edges[0], edges[-1] = -np.inf, np.inf
    node_px = _node_px(tof_fwhm_px)
    nodes = (np.arange(count * NODES_PER_TOF_BIN) + 0.5) * node_px - count * width / 2
    sigma = np.sqrt((tof_fwhm_px / FWHM_PER_SIGMA) ** 2 - node_px**2 / 12)
    fractions = np.diff(ndtr((edges[:, None] - nodes) / sigma), axis=0)
    fractions[fractions < TOF_TAIL] = 0
    kernel: NDArray[np.float32] = (fractions / fractions.sum(axis=0)).astype(np.float32)
    return kernel


def _node_px(tof_fwhm_px: float) -> float:
    return tof_fwhm_px / TOF_BINS_PER_FWHM / NODES_PER_TOF_BIN


def _in_field(shape: tuple[int, int], n_bins: int) -> NDArray[np.bool_]:
    x, y = _pixel_centres(shape)
    radius = n_bins / 2 - np.sqrt(0.5)  # less half a pixel's diagonal
    inside: NDArray[np.bool_] = (x**2 + y**2 <= radius**2).reshape(shape)
    return inside


def _pixel_centres(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    i, j = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return i.ravel(), j.ravel()


def _views(
    shape: tuple[int, int], n_angles: int, subsets: int, n_bins: int, n_nodes: int, node_px: float
) -> tuple[tuple[sparse.csr_matrix, ...], tuple[sparse.csr_matrix, ...]]:
    """Return the matrices of all views, in units of pixels, and their transposes.

    The transposes are stored too, because products with row-major matrices are faster.
    """
    in_field = _in_field(shape, n_bins)
    angles_rad = _angles_in_subset_order(n_angles, subsets)
    back = tuple(_back_view(in_field, angle, n_bins, n_nodes, node_px) for angle in angles_rad)
    return tuple(view.T.tocsr() for view in back), back


_cached_views = lru_cache(maxsize=16)(_views)


def _back_view(
    in_field: NDArray[np.bool_], angle_rad: float, n_bins: int, n_nodes: int, node_px: float
) -> sparse.csr_matrix:
    """Return the area of overlap of each pixel with each strip, at the node nearest to the pixel.

    The matrix is [pixel, bin · node]. Pixels outside the field have no entries.
    """
    x, y = (centre[in_field.ravel()] for centre in _pixel_centres(in_field.shape))
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    bins, area = _strip_weights(x * c + y * s + n_bins / 2, abs(c), abs(s))
    node = np.floor((y * c - x * s) / node_px + n_nodes / 2).astype(np.int32)
    column = bins * n_nodes + np.clip(node, 0, n_nodes - 1)[:, None]
    area[area < 1e-6] = 0
    column[area == 0] = 0
    starts = np.concatenate([[0], np.cumsum(np.where(in_field.ravel(), 3, 0))])
    size = (in_field.size, n_nodes * n_bins)
    view = sparse.csr_matrix((area.ravel(), column.ravel(), starts), size)
    view.eliminate_zeros()
    return view


def _strip_weights(
    s_px: NDArray[np.float64], c: float, s: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the bins that a unit pixel centred at s_px overlaps, and its area in each, [pixel, 3].

    The projection of a pixel is a trapezoid: a box of width |cos| convolved with a box of width
    |sin|. The cumulative area is therefore a second difference of r(u) = max(u, 0)² / 2.
    """
    wide, narrow = max(c, s), max(min(c, s), 1e-6)
    outer, inner = (wide + narrow) / 2, (wide - narrow) / 2
    first = np.floor(s_px - outer)
    edges = (first - s_px)[:, None] + np.arange(4)

    def ramp(u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square(np.maximum(u, 0)) / 2

    cumulative = (
        ramp(edges + outer) - ramp(edges + inner) - ramp(edges - inner) + ramp(edges - outer)
    ) / (wide * narrow)
    bins = (first[:, None] + np.arange(3)).astype(np.int32)
    return bins, np.diff(cumulative, axis=1).astype(np.float32)


def _as_torch(block: sparse.csr_matrix, device: Any) -> Any:
    import torch

    starts, columns, weights = (
        torch.from_numpy(part) for part in (block.indptr, block.indices, block.data)
    )
    with warnings.catch_warnings():
        # torch warns that sparse CSR tensors are in beta. Only their product is used here.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(
            starts, columns, weights, size=block.shape, check_invariants=False
        )
    return matrix.to(device)
