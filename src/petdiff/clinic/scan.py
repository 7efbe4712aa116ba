"""A whole scan: from a patient's activity to the images of a scanner, at full and at lower doses.

The body is scanned in stacks of slices that overlap by what the axial point spread reaches, so
memory does not grow with its length. Every slice has its own random stream: the same seed gives
the same counts however the body is cut into stacks and on however many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.clinic.acquisition import Acquisition, acquire, thin
from petdiff.clinic.exam import Coverage, Exam, coverage
from petdiff.clinic.isotopes import F18
from petdiff.clinic.projector import FWHM_PER_SIGMA, ParallelProjector
from petdiff.clinic.reconstruction import osem
from petdiff.clinic.resolution import BlurredProjector, Resolution
from petdiff.clinic.scanners import Scanner
from petdiff.errors import InputRefused, UsageError

FloatArray = NDArray[np.float32]

NORMALISATION_ERROR = 0.01
STACK_BYTES = 100_000_000  # of one volume's counts in a stack
LONGEST_STACK = 48  # slices: longer ones no longer fit the cache
AIR_PIXELS = 4  # kept around the body: noise and blur reach into it
HALO_SIGMA = 4.0  # of the axial point spread, beyond each end of a stack


@dataclass(frozen=True)
class Scan:
    """Images in SUV [i, j, k] on the grid of the activity, and how many events made the full one.

    lows maps each dose reduction factor to its image.
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
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Scan a patient whose axis is k, feet first.

    suv, mu_per_cm  [i, j, k], uptake and attenuation at 511 keV, on the grid of the images
    voxel_mm        size along i, j, k; i and j must agree
    dose_factors    dose reduction factors above 1 of the low-dose images, nested in the full scan
    progress        called with the slices done and the slices to do

    Raises UsageError for a dose factor ≤ 1 or oblong pixels, InputRefused for a body wider than
    the scanner's bore.
    """
    _check(suv, voxel_mm, scanner, dose_factors)
    box = _body_box(suv, mu_per_cm)
    factors = [1.0, *sorted(set(dose_factors))]
    projector = _projector(scanner, suv[box].shape, voxel_mm[0])
    z_mm = np.arange(suv.shape[2]) * voxel_mm[2]
    seen = coverage(scanner, z_mm, exam.isotope)
    images = np.zeros((len(factors), *suv.shape), np.float32)
    job = partial(
        _scan_stack,
        suv[box],
        mu_per_cm[box],
        voxel_mm,
        scanner,
        exam,
        projector,
        seen,
        factors,
        seed,
    )
    prompts, done = 0.0, 0
    with ThreadPoolExecutor(threads) as pool:
        stacks = _stacks(projector, suv.shape[2])
        for stack, (image, events) in zip(stacks, pool.map(job, stacks), strict=True):
            images[(slice(None), *box[:2], stack)] = image
            prompts += events
            done = stack.stop
            if progress:
                progress(done, suv.shape[2])
    if scanner.filter_fwhm_mm:
        sigma = scanner.filter_fwhm_mm / FWHM_PER_SIGMA / np.asarray(voxel_mm)
        for image in images:
            gaussian_filter(image, sigma, output=image)
    full, *lows = images
    return Scan(full, dict(zip(factors[1:], lows, strict=True)), prompts)


def _scan_stack(
    suv: FloatArray,
    mu_per_cm: FloatArray,
    voxel_mm: tuple[float, float, float],
    scanner: Scanner,
    exam: Exam,
    projector: ParallelProjector,
    seen: Coverage,
    factors: Sequence[float],
    seed: int,
    stack: slice,
) -> tuple[FloatArray, float]:
    """Images [dose, i, j, k] of one stack of slices, and its prompt events."""
    resolution = scanner.resolution
    # NEMA resolution was measured with 18F and holds its range already.
    extra_mm = np.sqrt(max(exam.isotope.range_fwhm_mm**2 - F18.range_fwhm_mm**2, 0))
    sigma_slices = resolution.axial_fwhm_mm / FWHM_PER_SIGMA / voxel_mm[2]
    halo = int(np.ceil(HALO_SIGMA * sigma_slices))
    near = _grown(stack, halo, suv.shape[2])
    wide = _grown(near, halo, suv.shape[2])

    def seen_with(sharpness: Resolution, part: slice) -> BlurredProjector:
        n_slices = part.stop - part.start
        return BlurredProjector(projector, sharpness, n_slices=n_slices, slice_mm=voxel_mm[2])

    pixel_ml_per_mm = voxel_mm[0] * voxel_mm[2] / 1000  # one integral step along a strip
    counts_per_suv_mm = seen.counts_per_bq[wide] * exam.bqml_per_suv() * pixel_ml_per_mm
    acquired = acquire(
        suv[..., wide],
        mu_per_cm[..., wide],
        seen_with(resolution.widened(float(extra_mm)), wide),
        generator=[np.random.default_rng([seed, k]) for k in range(wide.start, wide.stop)],
        counts_per_activity_mm=counts_per_suv_mm / len(projector.angles_rad),
        scatter_fraction=scanner.scatter_fraction,
        randoms_fraction=scanner.randoms_fraction,
        normalisation_error=NORMALISATION_ERROR,
        acceptance=seen.acceptance[wide],
    )
    acquired = _slices(acquired, slice(near.start - wide.start, near.stop - wide.start))
    streams = [np.random.default_rng([seed, k, 1]) for k in range(near.start, near.stop)]
    images = osem(
        thin(acquired.counts, factors, streams),
        seen_with(resolution, near),
        iterations=scanner.iterations,
        multiplicative=acquired.multiplicative,
        additive=acquired.additive,
        exposures=[1 / factor for factor in factors],
    )
    core = slice(stack.start - near.start, stack.stop - near.start)
    events = float(acquired.counts[..., core].sum(dtype=np.float64))
    return np.moveaxis(images[..., core], 2, 0), events


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
    """Pixels around the body: the rest of the bore is air and takes no part in the scan."""
    i, j = np.nonzero(suv.any(axis=2) | mu_per_cm.any(axis=2))

    def span(where: NDArray[np.intp]) -> slice:
        return slice(max(0, int(where.min()) - AIR_PIXELS), int(where.max()) + 1 + AIR_PIXELS)

    return span(i), span(j), slice(None)


def _projector(scanner: Scanner, shape: tuple[int, ...], pixel_mm: float) -> ParallelProjector:
    """Just enough views: time of flight bounds how far an event can be carried along a slanted
    line, so neighbouring views may be as far apart as a pixel is at the reach of its kernel."""
    views = np.pi * scanner.tof_fwhm_mm / pixel_mm
    per_subset = max(4, int(np.ceil(views / scanner.subsets)))
    return ParallelProjector(
        (shape[0], shape[1]),
        pixel_mm,
        per_subset * scanner.subsets,
        subsets=scanner.subsets,
        n_bins=int(np.ceil(np.hypot(shape[0], shape[1]))) + 2,
        tof_fwhm_mm=scanner.tof_fwhm_mm,
    )


def _stacks(projector: ParallelProjector, n_slices: int) -> list[slice]:
    slice_bytes = 4 * int(np.prod(projector.sinogram_shape))
    length = int(np.clip(STACK_BYTES // slice_bytes, 8, LONGEST_STACK))
    length = int(np.ceil(n_slices / np.ceil(n_slices / length)))
    return [slice(k, min(k + length, n_slices)) for k in range(0, n_slices, length)]


def _grown(part: slice, by: int, n_slices: int) -> slice:
    return slice(max(0, part.start - by), min(n_slices, part.stop + by))


def _slices(acquired: Acquisition, part: slice) -> Acquisition:
    return Acquisition(
        acquired.counts[..., part], acquired.multiplicative[..., part], acquired.additive[..., part]
    )
