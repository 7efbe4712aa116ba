"""Spatial resolution of a scanner: Gaussian blurs of the sinogram's bins and of the slices.

In parallel-beam geometry, a transaxial Gaussian blur of the image equals a blur of each view along
its bins (the projection theorem). Such a blur has one dimension instead of two. Its width can
increase with the distance from the axis, as parallax requires (Panin et al., IEEE TMI 2006, doi
10.1109/TMI.2006.876171). The axial blur acts on the slices of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ive

from petdiff.simulation.scanner.banded_matrix import Array, Banded
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.units import FWHM_PER_SIGMA

BAND_ROWS = 16

PENETRATION_MM = 12.5  # penetration of 511 keV photons into scintillators such as LSO or BGO


@dataclass(frozen=True)
class Resolution:
    """Full widths at half maximum in mm: transaxial on the axis, and axial.

    Lines at a distance s from the axis enter the crystals obliquely, which adds 12.5 mm · s /
    hypot(s, ring_radius_mm) in quadrature (Moses, NIM A 2011, doi 10.1016/j.nima.2010.11.092). An
    infinite ring has no such term.
    """

    fwhm_mm: float
    axial_fwhm_mm: float
    ring_radius_mm: float = float("inf")

    def at(self, s_mm: ArrayLike) -> NDArray[np.float64]:
        """Return the transaxial width in mm across a line at a distance s_mm from the axis."""
        s = np.abs(np.asarray(s_mm, float))
        parallax_mm = PENETRATION_MM * s / np.hypot(s, self.ring_radius_mm)
        width_mm: NDArray[np.float64] = np.hypot(self.fwhm_mm, parallax_mm)
        return width_mm

    def widened(self, fwhm_mm: float) -> Resolution:
        """Return the resolution after a further isotropic Gaussian blur of that FWHM."""
        transaxial, axial = np.hypot([self.fwhm_mm, self.axial_fwhm_mm], fwhm_mm)
        return Resolution(float(transaxial), float(axial), self.ring_radius_mm)


class BlurredProjector:
    """A projector with finite resolution; `forward` and `back` are adjoint.

    It applies to a stack of n_slices, slice_mm apart. The axial blur is reflected at the ends of
    the stack, so no counts are lost there. Code that projects one view at a time, such as the
    reconstruction, blurs the slices once for all views.
    """

    def __init__(
        self,
        projector: ParallelProjector,
        resolution: Resolution,
        *,
        n_slices: int,
        slice_mm: float,
    ) -> None:
        self.projector = projector
        self.resolution = resolution
        voxel_mm, n_bins = projector.voxel_mm, projector.n_bins
        s_mm = (np.arange(n_bins) - (n_bins - 1) / 2) * voxel_mm
        # None: no blur.
        self._bins = self._bins_back = self._slices = self._slices_back = None
        if (fwhm_mm := resolution.at(s_mm)).any():
            bins = gaussian_matrix(n_bins, fwhm_mm / voxel_mm)
            self._bins = Banded(bins, BAND_ROWS, projector.as_array)
            self._bins_back = Banded(bins.T, BAND_ROWS, projector.as_array)
        if resolution.axial_fwhm_mm:
            axial = gaussian_matrix(n_slices, resolution.axial_fwhm_mm / slice_mm, reflect=True)
            self._slices = projector.as_array(axial)
            self._slices_back = self._slices.T

    def forward(self, image: Array) -> Array:
        """Return blurred strip integrals [angle, bin, tof, k] of image [i, j, k]."""
        blurred = self.blur_slices(image)
        views = self.projector.views()
        return self.projector.stack(self.forward_view(blurred, view) for view in views)

    def back(self, sinogram: Array) -> Array:
        """Return the adjoint of `forward`."""
        blurred = sum(self.back_view(sinogram[view], view) for view in self.projector.views())
        return self.blur_slices_back(blurred)

    def forward_view(self, image: Array, view: int) -> Array:
        """Return one view [bin, tof, k] of image [i, j, k], which has the axial blur already."""
        return _along_bins(self._bins, self.projector.forward_view(image, view))

    def back_view(self, lines: Array, view: int) -> Array:
        """Return the adjoint of `forward_view`."""
        return self.projector.back_view(_along_bins(self._bins_back, lines), view)

    def blur_slices(self, image: Array) -> Array:
        """Return image [i, j, k] with the axial point spread."""
        return _along_slices(self._slices_back, image)

    def blur_slices_back(self, image: Array) -> Array:
        """Return the adjoint of `blur_slices`."""
        return _along_slices(self._slices, image)


def gaussian_matrix(n: int, fwhm_px: ArrayLike, *, reflect: bool = False) -> NDArray[np.float32]:
    """Return a Gaussian blur of n samples as a matrix [n, n]; column q is the response to sample q.

    `fwhm_px` is one width, or one per column. The kernel is the discrete Gaussian exp(-t) I_m(t)
    (Lindeberg, IEEE PAMI 1990). Its variance is exactly t for any width, it is positive, and it
    sums to one. The part of the kernel beyond an end is lost, or reflected with `reflect`.
    """
    widths = np.broadcast_to(np.asarray(fwhm_px, float), (n,))
    return _gaussian_matrix(n, tuple(widths.tolist()), reflect)


@lru_cache(maxsize=32)
def _gaussian_matrix(n: int, fwhm_px: tuple[float, ...], reflect: bool) -> NDArray[np.float32]:
    variance = (np.array(fwhm_px) / FWHM_PER_SIGMA) ** 2
    p, q = np.arange(n)[:, None], np.arange(n)[None, :]
    matrix = ive(np.abs(p - q), variance)
    if reflect:
        reach = int(np.ceil(6 * np.sqrt(variance.max()) / n)) + 1
        for period in range(-reach, reach + 1):
            shift = 2 * n * period
            if period:
                matrix = matrix + ive(np.abs(p - q + shift), variance)
            matrix = matrix + ive(np.abs(p + q + 1 + shift), variance)
    blur: NDArray[np.float32] = np.where(matrix > 1e-9, matrix, 0).astype(np.float32)
    blur.flags.writeable = False  # cached, so callers share it
    return blur


def _along_slices(blur: Array | None, image: Array) -> Array:
    if blur is None:
        return image
    return (image.reshape(-1, image.shape[-1]) @ blur).reshape(image.shape)


def _along_bins(blur: Banded | None, view: Array) -> Array:
    if blur is None:
        return view
    return (blur @ view.reshape(view.shape[0], -1)).reshape(view.shape)
