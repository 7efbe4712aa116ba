"""A whole scan: from a patient's activity to images at full dose and at lower doses.

The body is scanned in stacks of slices that overlap by the reach of the axial point spread, so that
memory does not grow with its length. Every slice has its own random stream. The same seed therefore
gives the same counts for any division into stacks and any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from petdiff.errors import InputRefused, UsageError
from petdiff.simulation.scanner.acquisition import Acquisition, acquire, thin
from petdiff.simulation.scanner.exam import Coverage, Exam, coverage
from petdiff.simulation.scanner.isotopes import F18
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.reconstruction import osem
from petdiff.simulation.scanner.resolution import BlurredProjector, Resolution
from petdiff.simulation.scanner.scanners import Scanner
from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.spans import with_halo

FloatArray = NDArray[np.float32]

NORMALISATION_ERROR = 0.01
STACK_BYTES = 100_000_000  # of one volume's counts in a stack, at most
LONGEST_STACK = 48  # slices: longer stacks do not fit the cache
AIR_PIXELS = 4  # kept around the body, because noise and blur extend into it
HALO_SIGMA = 4.0  # of the axial point spread, beyond each end of a stack


@dataclass(frozen=True)
class Scan:
    """Images in SUV [i, j, k] on the grid of the activity, and the number of full-dose events.

    `lows` maps each dose reduction factor to its image.
    """

    full: FloatArray
    lows: dict[float, FloatArray]
    prompts: float


def scan(
    suv: FloatArray,
    mu_per_cm: FloatArray,
    voxel_mm: tuple[float, float, float],
    scanner: Scanner,
    exam: Exam,
    *,
    dose_factors: Sequence[float],
    seed: int,
    seen: Coverage | None = None,
    threads: int = 1,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Scan a patient whose axis is k, feet first.

    suv, mu_per_cm  [i, j, k], uptake and attenuation at 511 keV, on the grid of the images
    voxel_mm        size along i, j, k; i and j must be equal
    dose_factors    dose reduction factors above 1 of the low-dose images, nested in the full scan
    seen            coverage of each slice, if the slices are part of a longer scan; default: these
                    slices are the whole scan
    threads         stacks scanned at a time
    device          torch device of the reconstruction; None: scipy on the CPU. Counts are the same
    progress        called with the slices done and the slices to do

    Raises UsageError for a dose factor ≤ 1 or pixels that are not square, InputRefused for a body
    wider than the scanner's bore.
    """
    _check(suv, voxel_mm, scanner, dose_factors)
    box = _body_box(suv, mu_per_cm)
    factors = [1.0, *sorted(set(dose_factors))]
    body = np.asarray(np.logical_or(suv[box], mu_per_cm[box]).any(axis=2))
    projector = _projector(scanner, body, voxel_mm[0])
    setup = _ScanSetup(
        suv=suv[box],
        mu_per_cm=mu_per_cm[box],
        voxel_mm=voxel_mm,
        scanner=scanner,
        exam=exam,
        seen=seen or coverage(scanner, np.arange(suv.shape[2]) * voxel_mm[2], exam.isotope),
        projector=projector,
        reconstructing=projector if device is None else projector.to(device),
        factors=factors,
        seed=seed,
    )
    images = np.zeros((len(factors), *suv.shape), np.float32)
    prompts = 0.0
    # One thread per matrix product: the stacks use the cores already.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        stacks = _stacks(projector, suv.shape[2])
        for stack, (image, events) in zip(stacks, pool.map(setup.scan, stacks), strict=True):
            images[(slice(None), *box[:2], stack)] = image
            prompts += events
            if progress:
                progress(stack.stop, suv.shape[2])
    if any(scanner.filter_fwhm_mm):
        transaxial, axial = scanner.filter_fwhm_mm
        sigma = np.array([transaxial, transaxial, axial]) / FWHM_PER_SIGMA / voxel_mm
        for image in images:
            gaussian_filter(image, sigma, output=image)
    full, *lows = images
    return Scan(full, dict(zip(factors[1:], lows, strict=True)), prompts)


@dataclass(frozen=True, eq=False)
class _ScanSetup:
    """A patient in a scanner, with all that scanning a stack needs."""

    suv: FloatArray
    mu_per_cm: FloatArray
    voxel_mm: tuple[float, float, float]
    scanner: Scanner
    exam: Exam
    seen: Coverage
    projector: ParallelProjector
    reconstructing: ParallelProjector
    factors: Sequence[float]
    seed: int

    def scan(self, stack: slice) -> tuple[FloatArray, float]:
        """Return the images [dose, i, j, k] of a stack of slices, and its number of prompts."""
        sigma_slices = self.scanner.axial_fwhm_mm / FWHM_PER_SIGMA / self.voxel_mm[2]
        halo = int(np.ceil(HALO_SIGMA * sigma_slices))
        near = with_halo(stack, halo, self.suv.shape[2])
        wide = with_halo(near.read, halo, self.suv.shape[2])
        acquired = self._acquire(near.read, wide.read)
        images = self._reconstruct(acquired, near.read)
        events = float(acquired.counts[..., near.inner].sum(dtype=np.float64))
        return images[..., near.inner], events

    def _acquire(self, near: slice, wide: slice) -> Acquisition:
        """Return the counts of the slices `near`, whose blur uses the slices `wide`."""
        # NEMA resolution is measured with 18F and includes the range of its positrons.
        range_mm = self.exam.isotope.range_fwhm_mm
        further_mm = float(np.sqrt(max(range_mm**2 - F18.range_fwhm_mm**2, 0)))
        sharpness = self.scanner.resolution.widened(further_mm)
        pixel_ml_per_mm = self.voxel_mm[0] * self.voxel_mm[2] / 1000  # of a strip's length
        counts_per_suv_mm = (
            self.seen.counts_per_bq[wide] * self.exam.bqml_per_suv() * pixel_ml_per_mm
        )
        acquired = acquire(
            self.suv[..., wide],
            self.mu_per_cm[..., wide],
            self._seen_with(sharpness, self.projector, wide),
            generator=[np.random.default_rng([self.seed, k]) for k in _indices(wide)],
            counts_per_activity_mm=counts_per_suv_mm / len(self.projector.angles_rad),
            scatter_fraction=self.scanner.scatter_fraction,
            randoms_fraction=self.scanner.randoms_fraction,
            field_mm=self.scanner.transaxial_field_mm,
            normalisation_error=NORMALISATION_ERROR,
            acceptance=self.seen.acceptance[wide],
        )
        kept = slice(near.start - wide.start, near.stop - wide.start)
        return Acquisition(
            acquired.counts[..., kept],
            acquired.multiplicative[..., kept],
            acquired.additive[..., kept],
        )

    def _reconstruct(self, acquired: Acquisition, near: slice) -> FloatArray:
        """Return the images [dose, i, j, k]."""
        streams = [np.random.default_rng([self.seed, k, 1]) for k in _indices(near)]
        projector = self.reconstructing
        images = osem(
            [projector.as_array(part) for part in thin(acquired.counts, self.factors, streams)],
            self._seen_with(self.scanner.resolution, projector, near),
            iterations=self.scanner.iterations,
            multiplicative=projector.as_array(acquired.multiplicative),
            additive=projector.as_array(acquired.additive),
            exposures=[1 / factor for factor in self.factors],
        )
        return projector.as_numpy(images)

    def _seen_with(
        self, sharpness: Resolution, projector: ParallelProjector, part: slice
    ) -> BlurredProjector:
        return BlurredProjector(
            projector, sharpness, n_slices=part.stop - part.start, slice_mm=self.voxel_mm[2]
        )


def _check(
    suv: FloatArray,
    voxel_mm: tuple[float, float, float],
    scanner: Scanner,
    dose_factors: Sequence[float],
) -> None:
    if any(factor <= 1 for factor in dose_factors):
        wrong = next(factor for factor in dose_factors if factor <= 1)
        raise UsageError(f"dose reduction factor {wrong:g}: give factors above 1, such as 4 or 20")
    if abs(voxel_mm[0] - voxel_mm[1]) > 1e-3:
        raise UsageError(f"voxels of {voxel_mm} mm: a scanner's pixels are square, give one size")
    i, j = np.nonzero(suv.any(axis=2))
    if not i.size:
        raise InputRefused("there is no activity to scan: every voxel's SUV is zero")
    across_mm = max(np.ptp(i), np.ptp(j)) * voxel_mm[0]
    if across_mm > scanner.transaxial_field_mm:
        raise InputRefused(
            f"the patient is {across_mm:.0f} mm wide and the field of {scanner.label} "
            f"{scanner.transaxial_field_mm:.0f} mm: scan a narrower patient or a wider scanner"
        )


def _body_box(suv: FloatArray, mu_per_cm: FloatArray) -> tuple[slice, slice, slice]:
    """Return the box of pixels around the body; the air beyond takes no part in the scan."""
    i, j = np.nonzero(suv.any(axis=2) | mu_per_cm.any(axis=2))

    def span(where: NDArray[np.intp]) -> slice:
        return slice(max(0, int(where.min()) - AIR_PIXELS), int(where.max()) + 1 + AIR_PIXELS)

    return span(i), span(j), slice(None)


def _projector(scanner: Scanner, body: NDArray[np.bool_], pixel_mm: float) -> ParallelProjector:
    """Return a projector with enough views and bins for the pixels [i, j] that hold the body.

    Time of flight limits how far an event can be displaced along an oblique line. Neighbouring
    views may therefore be one pixel apart at the reach of the time-of-flight kernel.
    """
    views = np.pi * scanner.tof_fwhm_mm / pixel_mm
    per_subset = max(4, round(views / scanner.subsets))
    i, j = np.nonzero(body)
    radius = np.hypot(i - (body.shape[0] - 1) / 2, j - (body.shape[1] - 1) / 2).max()
    return ParallelProjector(
        (body.shape[0], body.shape[1]),
        pixel_mm,
        per_subset * scanner.subsets,
        subsets=scanner.subsets,
        n_bins=2 * (int(np.ceil(radius)) + AIR_PIXELS),
        tof_fwhm_mm=scanner.tof_fwhm_mm,
    )


def _stacks(projector: ParallelProjector, n_slices: int) -> list[slice]:
    slice_bytes = 4 * int(np.prod(projector.sinogram_shape))
    length = int(np.clip(STACK_BYTES // slice_bytes, 8, LONGEST_STACK))
    # An even number of stacks keeps both of two cores busy to the end.
    count = 2 * int(np.ceil(n_slices / length / 2))
    length = int(np.ceil(n_slices / count))
    return [slice(k, min(k + length, n_slices)) for k in range(0, n_slices, length)]


def _indices(part: slice) -> range:
    return range(part.start, part.stop)
