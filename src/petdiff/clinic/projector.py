"""What a ring of detectors sees of a slice: line integrals in parallel strips, a sparse matrix.

Slices are projected independently (rebinned data), so a whole stack costs one sparse-times-dense
product, and the same line `matrix @ image` runs in scipy on a CPU and in torch on a GPU.

Shapes: image [i, j, ..., k], sinogram [angle, bin, tof, ..., k]; every axis between the named ones
and k is carried along, so several volumes can be projected at once.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

# numpy arrays on the CPU, torch tensors on the device the projector was moved to.
Array = Any

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
TOF_BINS_PER_FWHM = 2.0  # binning then widens the time-of-flight kernel by less than 6 %
TOF_CUT_SIGMA = 3.0
CACHED_BELOW = 20_000_000  # pixels × views × time bins: matrices of about 100 MB at most


class ParallelProjector:
    """Strip integrals of pixel images along parallel lines, with or without time of flight.

    shape        pixels (i, j) of a slice, or one number for a square
    voxel_mm     pixel side; bins are as wide as pixels
    n_angles     views over half a turn, a multiple of `subsets`
    subsets      views are stored subset by subset: `angles_rad` is in that order, and subset m
                 is one contiguous block of the sinogram
    n_bins       bins per view; the default covers the inscribed circle. Pixels that leave the
                 bins at any view are outside the field: not projected, zero in `back`
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
        tof_fwhm_px = None if tof_fwhm_mm is None else round(tof_fwhm_mm / self.voxel_mm, 6)
        self.angles_rad = _angles_in_subset_order(n_angles, subsets)
        self.n_tof = len(_tof_edges_px(self.n_bins, tof_fwhm_px)) - 1
        self.sinogram_shape = (n_angles, self.n_bins, self.n_tof)
        self.in_field = _in_field(self.shape, self.n_bins)
        key = (self.shape, n_angles, subsets, self.n_bins, tof_fwhm_px)
        small = np.count_nonzero(self.in_field) * n_angles * self.n_tof < CACHED_BELOW
        build = _cached_blocks if small else _blocks
        self._forward_blocks, self._back_blocks = build(*key)
        self._device: Any = None

    def without_tof(self) -> ParallelProjector:
        """The same views and bins, time-of-flight bins summed, as attenuation needs them."""
        if self.tof_fwhm_mm is None:
            return self
        twin = ParallelProjector(
            self.shape,
            self.voxel_mm,
            len(self.angles_rad),
            subsets=self.subsets,
            n_bins=self.n_bins,
        )
        return twin if self._device is None else twin.to(self._device)

    def to(self, device: Any) -> ParallelProjector:
        """A twin that projects torch tensors on `device`."""
        twin = ParallelProjector.__new__(ParallelProjector)
        twin.__dict__.update(self.__dict__)
        twin._forward_blocks = tuple(_as_torch(block, device) for block in self._forward_blocks)
        twin._back_blocks = tuple(_as_torch(block, device) for block in self._back_blocks)
        twin._device = device
        return twin

    def as_array(self, values: Any) -> Array:
        """Values as float32, a numpy array or a tensor on the projector's device."""
        array = np.ascontiguousarray(values, np.float32)
        if self._device is None:
            return array
        import torch

        return torch.from_numpy(array).to(self._device)

    def as_numpy(self, array: Array) -> NDArray[np.float32]:
        """The way back from `as_array`."""
        values: NDArray[np.float32] = array if self._device is None else array.cpu().numpy()
        return values

    def ones(self, shape: tuple[int, ...]) -> Array:
        """Ones, where the projector's arrays live."""
        return self.as_array(np.ones(shape, np.float32))

    def views(self, subset: int | None) -> slice:
        """The part of the angle axis that a subset holds (all of it for None)."""
        per_subset = len(self.angles_rad) // self.subsets
        return (
            slice(None) if subset is None else slice(subset * per_subset, (subset + 1) * per_subset)
        )

    def forward(self, image: Array, subset: int | None = None) -> Array:
        """Image [i, j, ..., k] → strip integrals [angle, bin, tof, ..., k], in image unit × mm."""
        rest = image.shape[2:]
        flat = image.reshape(self.shape[0] * self.shape[1], -1)
        blocks = self._forward_blocks if subset is None else [self._forward_blocks[subset]]
        parts = [(block @ flat).reshape(-1, *self.sinogram_shape[1:], *rest) for block in blocks]
        return concatenate(parts) * self.voxel_mm

    def back(self, sinogram: Array, subset: int | None = None) -> Array:
        """The adjoint of `forward`: sinogram [angle, bin, tof, ..., k] → image [i, j, ..., k]."""
        rest = sinogram.shape[3:]
        subsets = range(self.subsets) if subset is None else [subset]
        image = None
        for position, m in enumerate(subsets):
            views = self.views(position) if subset is None else slice(None)
            flat = sinogram[views].reshape(self._back_blocks[m].shape[1], -1)
            part = self._back_blocks[m] @ flat
            image = part if image is None else image + part
        assert image is not None
        return (image * self.voxel_mm).reshape(*self.shape, *rest)


def _angles_in_subset_order(n_angles: int, subsets: int) -> NDArray[np.float64]:
    """Interleaved subsets, visited far apart: successive ones differ by about 0.38 of a spacing."""
    step = next(
        s for s in range(max(1, round(0.382 * subsets)), subsets + 1) if np.gcd(s, subsets) == 1
    )
    offsets = (np.arange(subsets) * step) % subsets
    order = offsets[:, None] + subsets * np.arange(n_angles // subsets)[None, :]
    # Half a step off the axes: no view then has strips exactly along the pixel edges.
    angles_rad: NDArray[np.float64] = (order.ravel() + 0.5) * np.pi / n_angles
    return angles_rad


def _tof_edges_px(n_bins: int, tof_fwhm_px: float | None) -> NDArray[np.float64]:
    """Bin edges along the line; the outermost bins reach to infinity so that no event is lost."""
    if tof_fwhm_px is None:
        return np.array([-np.inf, np.inf])
    width = tof_fwhm_px / TOF_BINS_PER_FWHM
    count = max(1, int(np.ceil(n_bins / width)))
    edges = np.asarray((np.arange(count + 1) - count / 2) * width, np.float64)
    edges[0], edges[-1] = -np.inf, np.inf
    return edges


def _in_field(shape: tuple[int, int], n_bins: int) -> NDArray[np.bool_]:
    x, y = _pixel_centres(shape)
    reach = n_bins / 2 - np.sqrt(0.5)  # half a pixel's diagonal stays within the last bin
    inside: NDArray[np.bool_] = (x**2 + y**2 <= reach**2).reshape(shape)
    return inside


def _pixel_centres(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    i, j = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return i.ravel(), j.ravel()


def _blocks(
    shape: tuple[int, int], n_angles: int, subsets: int, n_bins: int, tof_fwhm_px: float | None
) -> tuple[tuple[sparse.csr_matrix, ...], tuple[sparse.csr_matrix, ...]]:
    """One matrix per subset, in pixel lengths, and its transpose (gathering beats scattering)."""
    angles = _angles_in_subset_order(n_angles, subsets).reshape(subsets, -1)
    pixels = np.flatnonzero(_in_field(shape, n_bins))
    edges = _tof_edges_px(n_bins, tof_fwhm_px)
    forward = tuple(_block(shape, pixels, views, n_bins, edges, tof_fwhm_px) for views in angles)
    return forward, tuple(block.T.tocsr() for block in forward)


_cached_blocks = lru_cache(maxsize=8)(_blocks)


def _block(
    shape: tuple[int, int],
    pixels: NDArray[np.intp],
    angles_rad: NDArray[np.float64],
    n_bins: int,
    tof_edges_px: NDArray[np.float64],
    tof_fwhm_px: float | None,
) -> sparse.csr_matrix:
    x, y = (centre[pixels] for centre in _pixel_centres(shape))
    n_tof = len(tof_edges_px) - 1
    rows, columns, weights = [], [], []
    for view, angle in enumerate(angles_rad):
        c, s = np.cos(angle), np.sin(angle)
        bins, area = _strip_weights(x * c + y * s + n_bins / 2, abs(c), abs(s))
        row = (view * n_bins + bins) * n_tof
        for tof, share in _tof_weights(y * c - x * s, tof_edges_px, tof_fwhm_px):
            rows.append(row + tof)
            columns.append(np.broadcast_to(pixels, row.shape))
            weights.append(area * share)
    weight = np.concatenate([w.astype(np.float32).ravel() for w in weights])
    keep = weight > 1e-6
    row, column = (np.concatenate([a.ravel() for a in part])[keep] for part in (rows, columns))
    size = (len(angles_rad) * n_bins * n_tof, shape[0] * shape[1])
    return sparse.csr_matrix((weight[keep], (row.astype(np.int32), column.astype(np.int32))), size)


def _strip_weights(
    s_px: NDArray[np.float64], c: float, s: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The bins that a unit pixel centred at s_px reaches, and the area it shares with each.

    Its footprint is a trapezoid, a box of width |cos| convolved with a box of width |sin|, so the
    cumulative area is a second difference of r(u) = max(u, 0)² / 2. Returns [3, pixel] arrays.
    """
    wide, narrow = max(c, s), max(min(c, s), 1e-6)
    first = np.floor(s_px - (wide + narrow) / 2).astype(np.intp)
    edges = first + np.arange(4)[:, None] - s_px

    def ramp(u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square(np.maximum(u, 0)) / 2

    outer, inner = (wide + narrow) / 2, (wide - narrow) / 2
    cumulative = (
        ramp(edges + outer) - ramp(edges + inner) - ramp(edges - inner) + ramp(edges - outer)
    ) / (wide * narrow)
    return first + np.arange(3)[:, None], np.maximum(np.diff(cumulative, axis=0), 0)


def _tof_weights(
    t_px: NDArray[np.float64], edges_px: NDArray[np.float64], fwhm_px: float | None
) -> list[tuple[Any, Any]]:
    """(bin, share) of the events from t_px along the line; the shares add up to one."""
    if fwhm_px is None:
        return [(0, 1.0)]
    sigma = fwhm_px / FWHM_PER_SIGMA
    width = fwhm_px / TOF_BINS_PER_FWHM
    count = len(edges_px) - 1
    reach = int(np.ceil(TOF_CUT_SIGMA * sigma / width))
    home = np.floor(t_px / width + count / 2).astype(np.intp)
    bins = home + np.arange(-reach, reach + 1)[:, None]
    inside = (bins >= 0) & (bins < count)
    bins = np.clip(bins, 0, count - 1)
    share = ndtr((edges_px[bins + 1] - t_px) / sigma) - ndtr((edges_px[bins] - t_px) / sigma)
    share = np.where(inside & (share > 1e-3), share, 0)
    share /= share.sum(axis=0)
    return list(zip(bins, share, strict=True))


def _as_torch(block: sparse.csr_matrix, device: Any) -> Any:
    import torch

    starts, columns, weights = (
        torch.from_numpy(part) for part in (block.indptr, block.indices, block.data)
    )
    with warnings.catch_warnings():
        # torch calls its compressed sparse tensors beta; all that is asked of them is a product.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(
            starts, columns, weights, size=block.shape, check_invariants=False
        )
    return matrix.to(device)


def concatenate(parts: list[Array], axis: int = 0) -> Array:
    """numpy's or torch's, as the parts are."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis)
    import torch

    return torch.cat(parts, axis)
