"""A whole scan: from a patient's activity to images at full dose and at lower doses.

The body is scanned in stacks of slices, so that memory does not grow with its length. Neighbouring
stacks overlap by the width of the axial point spread. Every slice has its own random stream. The
same seed therefore gives the same counts for any division into stacks and any number of threads.
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
from petdiff.simulation.scanner.exam import AxialSensitivity, Exam, axial_sensitivity
from petdiff.simulation.scanner.isotopes import F18
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.reconstruction import osem
from petdiff.simulation.scanner.resolution import BlurredProjector, Resolution
from petdiff.simulation.scanner.scanners import Scanner
from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.spans import with_halo

FloatArray = NDArray[np.float32]

NORMALISATION_ERROR = 0.01
STACK_BYTES = 100_000_000  # largest size of one dose's counts in a stack
LONGEST_STACK = 48  # slices; longer stacks do not fit in the processor's cache
AIR_PIXELS = 4  # margin of air around the body, because noise and blur extend into it
HALO_SIGMA = 4.0  # slices added at each end of a stack, in σ of the axial point spread


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
    sensitivity: AxialSensitivity | None = None,
    threads: int = 1,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Scan a patient whose axis is k, feet first.

    suv, mu_per_cm  [i, j, k], uptake and attenuation at 511 keV, on the grid of the images
    voxel_mm        voxel size along i, j, k; those along i and j must be equal
    dose_factors    dose reduction factors above 1 of the low-dose images; their counts are
                    subsets of the full scan's
    sensitivity     sensitivity at each slice, if the slices are part of a longer scan; default:
                    these slices are the whole scan
    threads         number of stacks that are scanned at the same time
    device          torch device of the reconstruction; None: scipy on the CPU. Counts are the same
    progress        called with the slices done and the slices to do

    Raises UsageError for a dose factor ≤ 1 or pixels that are not square, InputRefused for a body
    wider than the scanner's bore.
    """
    _check(suv, voxel_mm, scanner, dose_factors)
    box = _bounding_box(suv, mu_per_cm)
    factors = [1.0, *sorted(set(dose_factors))]
    body = np.asarray(np.logical_or(suv[box], mu_per_cm[box]).any(axis=2))
    projector = _projector(scanner, body, voxel_mm[0])
    setup = _ScanSetup(
        suv=suv[box],
        mu_per_cm=mu_per_cm[box],
        voxel_mm=voxel_mm,
        scanner=scanner,
        exam=exam,
        sensitivity=sensitivity
        or axial_sensitivity(scanner, np.arange(suv.shape[2]) * voxel_mm[2], exam.isotope),
        projector=projector,
        reconstruction_projector=projector if device is None else projector.to(device),
        factors=factors,
        seed=seed,
    )
    images = np.zeros((len(factors), *suv.shape), np.float32)
    prompts = 0.0
    # One thread per matrix product, because the stacks already occupy the cores.
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
    """A patient in a scanner, and everything that is needed to scan a stack of slices."""

    suv: FloatArray
    mu_per_cm: FloatArray
    voxel_mm: tuple[float, float, float]
    scanner: Scanner
    exam: Exam
    sensitivity: AxialSensitivity
    projector: ParallelProjector
    reconstruction_projector: ParallelProjector
    factors: Sequence[float]
    seed: int

    def scan(self, stack: slice) -> tuple[FloatArray, float]:
        """Return the images [dose, i, j, k] of a stack of slices, and its number of prompts."""
        sigma_slices = self.scanner.axial_fwhm_mm / FWHM_PER_SIGMA / self.voxel_mm[2]
        halo = int(np.ceil(HALO_SIGMA * sigma_slices))
        reconstructed = with_halo(stack, halo, self.suv.shape[2])
        measured = with_halo(reconstructed.read, halo, self.suv.shape[2])
        acquired = self._acquire(reconstructed.read, measured.read)
        images = self._reconstruct(acquired, reconstructed.read)
        events = float(acquired.counts[..., reconstructed.inner].sum(dtype=np.float64))
        return images[..., reconstructed.inner], events

    def _acquire(self, part: slice, measured: slice) -> Acquisition:
        """Return the counts of the slices `part`; the slices `measured` around it blur into it."""
        # NEMA resolution is measured with 18F, so it includes the range of the positrons of 18F.
        range_mm = self.exam.isotope.range_fwhm_mm
        extra_fwhm_mm = float(np.sqrt(max(range_mm**2 - F18.range_fwhm_mm**2, 0)))
        resolution = self.scanner.resolution.widened(extra_fwhm_mm)
        pixel_ml_per_mm = self.voxel_mm[0] * self.voxel_mm[2] / 1000  # of a strip's length
        counts_per_suv_mm = (
            self.sensitivity.counts_per_bq[measured] * self.exam.bqml_per_suv() * pixel_ml_per_mm
        )
        acquired = acquire(
            self.suv[..., measured],
            self.mu_per_cm[..., measured],
            self._blurred_projector(resolution, self.projector, measured),
            generator=[np.random.default_rng([self.seed, k]) for k in _indices(measured)],
            counts_per_activity_mm=counts_per_suv_mm / len(self.projector.angles_rad),
            scatter_fraction=self.scanner.scatter_fraction,
            randoms_fraction=self.scanner.randoms_fraction,
            field_mm=self.scanner.transaxial_field_mm,
            normalisation_error=NORMALISATION_ERROR,
            acceptance=self.sensitivity.acceptance[measured],
        )
        inner = slice(part.start - measured.start, part.stop - measured.start)
        return Acquisition(
            acquired.counts[..., inner],
            acquired.multiplicative[..., inner],
            acquired.additive[..., inner],
        )

    def _reconstruct(self, acquired: Acquisition, part: slice) -> FloatArray:
        """Return the images [dose, i, j, k]."""
        generators = [np.random.default_rng([self.seed, k, 1]) for k in _indices(part)]
        projector = self.reconstruction_projector
        images = osem(
            [
                projector.as_array(dose_counts)
                for dose_counts in thin(acquired.counts, self.factors, generators)
            ],
            self._blurred_projector(self.scanner.resolution, projector, part),
            iterations=self.scanner.iterations,
            multiplicative=projector.as_array(acquired.multiplicative),
            additive=projector.as_array(acquired.additive),
            exposures=[1 / factor for factor in self.factors],
        )
        return projector.as_numpy(images)

    def _blurred_projector(
        self, resolution: Resolution, projector: ParallelProjector, part: slice
    ) -> BlurredProjector:
        return BlurredProjector(
            projector, resolution, n_slices=part.stop - part.start, slice_mm=self.voxel_mm[2]
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


def _bounding_box(suv: FloatArray, mu_per_cm: FloatArray) -> tuple[slice, slice, slice]:
    """Return the box around the body; the air beyond it is not simulated."""
    i, j = np.nonzero(suv.any(axis=2) | mu_per_cm.any(axis=2))

    def span(where: NDArray[np.intp]) -> slice:
        return slice(max(0, int(where.min()) - AIR_PIXELS), int(where.max()) + 1 + AIR_PIXELS)

    return span(i), span(j), slice(None)


def _projector(scanner: Scanner, body: NDArray[np.bool_], pixel_mm: float) -> ParallelProjector:
    """Return a projector with enough views and bins for the pixels [i, j] of the body.

    Time of flight limits the distance along a line at which an event is back-projected. It is
    therefore enough that neighbouring views are one pixel apart at the width of the time-of-flight
    kernel.
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
    # With an even number of stacks, two cores finish at the same time.
    count = 2 * int(np.ceil(n_slices / length / 2))
    length = int(np.ceil(n_slices / count))
    return [slice(k, min(k + length, n_slices)) for k in range(0, n_slices, length)]


def _indices(part: slice) -> range:
    return range(part.start, part.stop)
