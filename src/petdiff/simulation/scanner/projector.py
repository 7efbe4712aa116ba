"""Projection of slices along parallel lines, in strips, as a sparse matrix.

Slices are projected independently (rebinned data), so a view of a whole stack is one product of a
sparse and a dense matrix. The same line `matrix @ image` runs in scipy on a CPU and in torch on a
GPU. Shapes: image [i, j, k], view [bin, tof, k], sinogram [angle, bin, tof, k].
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
TOF_TAIL = 1e-5  # of a node's events: smaller shares go to the other bins
NODES_PER_TOF_BIN = 3  # nodes are a sixth of the kernel's width apart
CACHED_BELOW = 3_000_000  # pixels × views: matrices of about 100 MB at most


class ParallelProjector:
    """Computes strip integrals of images along parallel lines, with or without time of flight.

    A sparse matrix sums each line's pixels at evenly spaced nodes along it. A small dense matrix,
    the same for all lines, distributes the nodes over time-of-flight bins.

    shape        pixels (i, j) of a slice, or one number for a square
    voxel_mm     pixel side; bins are as wide as pixels
    n_angles     views over half a turn, a multiple of `subsets`
    subsets      views are stored subset by subset: `angles_rad` is in that order, and subset m is
                 one contiguous block of the sinogram
    n_bins       bins per view; the default covers the inscribed circle. Pixels that lie outside the
                 bins in any view are outside the field: not projected, zero in `back`
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
        self._set_timing(_timing(self.n_bins, tof_fwhm_mm and tof_fwhm_mm / self.voxel_mm))
        n_nodes = self._timing.shape[1]
        node_px = 1.0 if tof_fwhm_mm is None else _node_px(tof_fwhm_mm / self.voxel_mm)
        self.in_field = _in_field(self.shape, self.n_bins)
        small = np.count_nonzero(self.in_field) * n_angles < CACHED_BELOW
        build = _cached_views if small else _views
        self._forward_views, self._back_views = build(
            self.shape, n_angles, subsets, self.n_bins, n_nodes, round(node_px, 6)
        )

    def _set_timing(self, timing: NDArray[np.float32]) -> None:
        """Set the nodes' shares [tof, node], which also convert pixels to mm."""
        self._timing = timing
        self.n_tof = len(timing)
        mm = timing * np.float32(self.voxel_mm)
        self._timed = Banded(mm, TOF_BAND_BINS, self.as_array)
        self._untimed = Banded(mm.T, TOF_BAND_BINS * NODES_PER_TOF_BIN, self.as_array)

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Return the numbers of views, bins and time-of-flight bins."""
        return len(self.angles_rad), self.n_bins, self.n_tof

    def without_tof(self) -> ParallelProjector:
        """Return a projector with the time-of-flight bins summed, as attenuation needs it."""
        twin = copy(self)
        twin.tof_fwhm_mm = None
        twin._set_timing(self._timing.sum(axis=0)[None])
        return twin

    def to(self, device: Any) -> ParallelProjector:
        """Return a copy that projects torch tensors on `device`."""
        twin = copy(self)
        twin._forward_views = tuple(_as_torch(view, device) for view in self._forward_views)
        twin._back_views = tuple(_as_torch(view, device) for view in self._back_views)
        twin._device = device
        twin._set_timing(self._timing)
        return twin

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
        return self._timed @ nodes.reshape(self.n_bins, -1, image.shape[2])

    def back_view(self, lines: Array, view: int) -> Array:
        """Return the adjoint of `forward_view`: image [i, j, k] of one view."""
        nodes = (self._untimed @ lines).reshape(-1, lines.shape[2])
        return (self._back_views[view] @ nodes).reshape(*self.shape, -1)


def _angles_in_subset_order(n_angles: int, subsets: int) -> NDArray[np.float64]:
    """Return the views' angles by interleaved subsets, ordered so that successive ones lie apart.

    Successive subsets differ by about 0.38 of their angular spacing.
    """
    step = next(
        s for s in range(max(1, round(0.382 * subsets)), subsets + 1) if np.gcd(s, subsets) == 1
    )
    offsets = (np.arange(subsets) * step) % subsets
    order = offsets[:, None] + subsets * np.arange(n_angles // subsets)[None, :]
    # Half a step off the axes, so that no view has strips exactly along the pixel edges.
    angles_rad: NDArray[np.float64] = (order.ravel() + 0.5) * np.pi / n_angles
    return angles_rad


def _timing(n_bins: int, tof_fwhm_px: float | None) -> NDArray[np.float32]:
    """Return the share of each node's events that falls into each time bin, as [tof, node].

    The outermost bins extend to infinity, so no event is lost. A pixel's position is rounded to the
    nearest node, which adds h² / 12 to the kernel's variance; the kernel here is narrower by as
    much.
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
    shares = np.diff(ndtr((edges[:, None] - nodes) / sigma), axis=0)
    shares[shares < TOF_TAIL] = 0
    timing: NDArray[np.float32] = (shares / shares.sum(axis=0)).astype(np.float32)
    return timing


def _node_px(tof_fwhm_px: float) -> float:
    return tof_fwhm_px / TOF_BINS_PER_FWHM / NODES_PER_TOF_BIN


def _in_field(shape: tuple[int, int], n_bins: int) -> NDArray[np.bool_]:
    x, y = _pixel_centres(shape)
    reach = n_bins / 2 - np.sqrt(0.5)  # half a pixel's diagonal stays within the last bin
    inside: NDArray[np.bool_] = (x**2 + y**2 <= reach**2).reshape(shape)
    return inside


def _pixel_centres(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    i, j = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return i.ravel(), j.ravel()


def _views(
    shape: tuple[int, int], n_angles: int, subsets: int, n_bins: int, n_nodes: int, node_px: float
) -> tuple[tuple[sparse.csr_matrix, ...], tuple[sparse.csr_matrix, ...]]:
    """Return one matrix per view, in pixel lengths, and its transpose (gathering is faster)."""
    in_field = _in_field(shape, n_bins)
    angles_rad = _angles_in_subset_order(n_angles, subsets)
    back = tuple(_back_view(in_field, angle, n_bins, n_nodes, node_px) for angle in angles_rad)
    return tuple(view.T.tocsr() for view in back), back


_cached_views = lru_cache(maxsize=16)(_views)


def _back_view(
    in_field: NDArray[np.bool_], angle_rad: float, n_bins: int, n_nodes: int, node_px: float
) -> sparse.csr_matrix:
    """Return the area that each pixel of the field shares with each line's nodes.

    Shape [pixel, bin · node].
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
    """Return the bins that a unit pixel centred at s_px reaches, and its area in each, [pixel, 3].

    The pixel's footprint is a trapezoid: a box of width |cos| convolved with a box of width |sin|.
    The cumulative area is therefore a second difference of r(u) = max(u, 0)² / 2.
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
        # torch warns that compressed sparse tensors are in beta; only a product is used here.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(
            starts, columns, weights, size=block.shape, check_invariants=False
        )
    return matrix.to(device)
