"""Counts of one scan: Poisson noise, attenuation, scatter, randoms and normalisation errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.simulation.scanner.counts import Generators, draw_poisson, draw_subset
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.resolution import BlurredProjector, gaussian_matrix

FloatArray = NDArray[np.float32]
SCATTER_FWHM_MM = 200.0  # blur of the trues that gives the distribution of scatter


@dataclass(frozen=True)
class Acquisition:
    """Counts of a scan, and the factors and the background that the reconstruction uses.

    counts          [angle, bin, tof, k], or [factor, angle, bin, tof, k]
    multiplicative  [angle, bin, 1, k], expected trues per activity · mm
    additive        [1, bin, tof, k], expected scatter and randoms; they are the same in each view
    """

    counts: FloatArray
    multiplicative: FloatArray
    additive: FloatArray


def acquire(
    activity: FloatArray,
    mu_per_cm: FloatArray,
    model: BlurredProjector,
    *,
    generator: Generators,
    counts_per_activity_mm: ArrayLike = 1.0,
    expected_trues: float | None = None,
    scatter_fraction: float = 0.0,
    randoms_fraction: float = 0.0,
    field_mm: float | None = None,
    normalisation_error: float = 0.0,
    acceptance: ArrayLike = 0.0,
    factors: Sequence[float] | None = None,
) -> Acquisition:
    """Simulate a scan of activity [i, j, k] with attenuation mu_per_cm [i, j, k] at 511 keV.

    generator               one for all slices, or one per slice. With one per slice, the noise of
                            a slice does not depend on the other slices
    counts_per_activity_mm  expected counts of one bin per unit of its strip integral before
                            attenuation: a number, or one per slice k (axial sensitivity)
    expected_trues          if given, counts_per_activity_mm is scaled so that this number of
                            unscattered coincidences is expected for the whole scan
    scatter_fraction        scatter / (trues + scatter), as NEMA NU 2 defines it
    randoms_fraction        randoms / (trues + scatter + randoms), over the scanner's whole field
    field_mm                diameter of that field. Randoms are uniform across it and, with time of
                            flight, over the same length along each line; those outside the bins are
                            not counted. None: the bins hold all randoms
    normalisation_error     standard deviation of the relative error of each line's efficiency. The
                            reconstruction does not correct for it
    acceptance              sine of the largest obliquity of the lines, a number or one per slice
    factors                 dose reduction factors, ascending, at which counts are drawn. The counts
                            at each factor are a subset of those at the previous one, as from
                            `thin`, but drawn faster. Unlike with `thin`, the counts at the first
                            factor depend on the other factors
    """
    multiplicative = attenuation_factors(mu_per_cm, model.projector, acceptance)
    multiplicative *= np.asarray(counts_per_activity_mm, np.float32)
    trues = model.forward(activity) * multiplicative
    if expected_trues is not None:
        scale = np.float32(expected_trues / trues.sum(dtype=np.float64))
        trues *= scale
        multiplicative *= scale
    additive = _additive(
        trues,
        model.projector,
        scatter_fraction,
        randoms_fraction,
        _fraction_in_bins(model, field_mm),
    )
    expected = trues + additive
    if normalisation_error:
        expected *= _efficiencies(expected.shape, generator, normalisation_error)
    if factors is None:
        counts = draw_poisson(expected, generator)
    else:
        counts = _nested_counts(expected, factors, generator)
    return Acquisition(counts, multiplicative, additive)


def attenuation_factors(
    mu_per_cm: FloatArray, projector: ParallelProjector, acceptance: ArrayLike = 0.0
) -> FloatArray:
    """Return the fraction of annihilation photon pairs that leave the body, [angle, bin, 1, k].

    The fraction is exp(-∫mu) for lines within the slice. Oblique lines at an angle θ cross 1/cos θ
    times as much tissue. The result is the mean over lines that are uniform in sin θ up to
    `acceptance`, with the mu of the slice.
    """
    integral = projector.without_tof().forward(mu_per_cm) / 10  # mm → cm
    factors: FloatArray = np.zeros_like(integral)
    for node, weight in zip(*np.polynomial.legendre.leggauss(3), strict=True):
        sine = np.asarray(acceptance, np.float64) * (node + 1) / 2
        factors += np.float32(weight / 2) * np.exp(-integral / np.sqrt(1 - sine**2, dtype="f4"))
    return factors


def thin(
    counts: FloatArray,
    factors: Sequence[float],
    generator: Generators,
) -> list[FloatArray]:
    """Return counts at ascending dose reduction factors ≥ 1, as from shorter parts of one scan.

    Each event of a dose belongs to the next lower dose with a fixed probability (binomial). Each
    dose is therefore a subset of the previous one, and its counts are Poisson. `counts` and each
    result are [angle, bin, tof, k].
    """
    _require_ascending(factors)
    thinned, remaining = [], counts
    for probability in np.divide([1, *factors[:-1]], factors):
        if probability < 1:
            remaining = draw_subset(remaining, float(probability), generator)
        thinned.append(remaining)
    return thinned


def _nested_counts(
    expected: FloatArray, factors: Sequence[float], generator: Generators
) -> FloatArray:
    """Return Poisson counts [factor, angle, bin, tof, k]; each dose is a subset of the previous.

    Each dose has the events of the next lower dose, and further independent events.
    """
    _require_ascending(factors)
    fractions = np.divide(1, factors)
    extra = (fractions - np.append(fractions[1:], 0)).astype(np.float32)
    counts = np.empty((len(factors), *expected.shape), np.float32)
    events: FloatArray | float = 0.0
    for position in reversed(range(len(factors))):
        events = events + draw_poisson(expected * extra[position], generator)
        counts[position] = events
    return counts


def _efficiencies(shape: tuple[int, ...], generator: Generators, error: float) -> FloatArray:
    """Draw the efficiency of each line of response, the same for all its time-of-flight bins.

    Returns [angle, bin, 1, k].
    """
    angles, bins, _, slices = shape
    if isinstance(generator, np.random.Generator):
        drawn = generator.standard_normal((angles, bins, 1, slices), np.float32)
    else:
        each = [stream.standard_normal((angles, bins, 1), np.float32) for stream in generator]
        drawn = np.stack(each, axis=-1)
    efficiencies: FloatArray = np.exp(error * drawn)
    return efficiencies


def _require_ascending(factors: Sequence[float]) -> None:
    if list(factors) != sorted(factors) or min(factors) < 1:
        raise ValueError(f"dose reduction factors must be ascending and at least 1, got {factors}")


def _fraction_in_bins(model: BlurredProjector, field_mm: float | None) -> float:
    """Return the fraction of the scanner's randoms that falls into the projector's bins."""
    if field_mm is None:
        return 1.0
    projector = model.projector
    fraction = min(1.0, projector.n_bins * projector.voxel_mm / field_mm)
    return fraction if projector.tof_fwhm_mm is None else fraction**2


def _additive(
    trues: FloatArray,
    projector: ParallelProjector,
    scatter_fraction: float,
    randoms_fraction: float,
    fraction_in_bins: float,
) -> FloatArray:
    """Return expected scatter and randoms [1, bin, tof, k], which are the same in each view.

    Scatter is the mean of the trues over the views, blurred across the bins. Randoms are uniform.
    """
    n_bins = trues.shape[1]
    ratio = scatter_fraction / (1 - scatter_fraction)
    blur = gaussian_matrix(n_bins, SCATTER_FWHM_MM / projector.voxel_mm, reflect=True)
    mean_view = trues.mean(axis=0).reshape(n_bins, -1)
    scatter = ratio * (blur @ mean_view).reshape(1, *trues.shape[1:])
    per_slice = trues.sum(axis=(0, 1, 2)) / (1 - scatter_fraction)
    randoms = per_slice * randoms_fraction / (1 - randoms_fraction) / trues[..., 0].size
    randoms *= fraction_in_bins
    additive: FloatArray = (scatter + randoms).astype(np.float32)
    return additive
