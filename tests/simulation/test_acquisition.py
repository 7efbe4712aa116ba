"""Statistics of the counts, and the expected counts with attenuation, scatter and randoms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from petdiff.simulation.scanner.acquisition import acquire, attenuation_factors, thin
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.resolution import BlurredProjector, Resolution

N, VOXEL_MM, SLICES = 32, 6.0, 4
Doses = Callable[..., np.ndarray]  # returns counts [factor, angle, bin, tof, k]


@pytest.fixture(scope="module")
def model() -> BlurredProjector:
    projector = ParallelProjector(N, VOXEL_MM, 12, subsets=3, tof_fwhm_mm=60.0)
    return BlurredProjector(projector, Resolution(6, 6), n_slices=SLICES, slice_mm=VOXEL_MM)


@pytest.fixture(scope="module")
def cylinder() -> np.ndarray:
    x = (np.arange(N) - (N - 1) / 2) * VOXEL_MM
    body = x[:, None] ** 2 + x**2 < 70**2
    return np.repeat(body[..., None], SLICES, axis=2).astype(np.float32)


def drawn_from_lowest_dose(
    cylinder: np.ndarray,
    model: BlurredProjector,
    factors: list[float],
    rng: np.random.Generator,
    trues: float,
) -> np.ndarray:
    options = {"generator": rng, "expected_trues": trues, "factors": factors}
    return acquire(cylinder, 0.096 * cylinder, model, **options).counts


def thinned(
    cylinder: np.ndarray,
    model: BlurredProjector,
    factors: list[float],
    rng: np.random.Generator,
    trues: float,
) -> np.ndarray:
    scanned = acquire(cylinder, 0.096 * cylinder, model, generator=rng, expected_trues=trues)
    return np.stack(thin(scanned.counts, factors, rng))


@pytest.mark.parametrize("doses", [thinned, drawn_from_lowest_dose])
def test_counts_are_poisson_at_every_dose(
    model: BlurredProjector, cylinder: np.ndarray, doses: Doses
) -> None:
    rng = np.random.default_rng(0)
    scans = [doses(cylinder, model, [1, 4, 20], rng, 2e5) for _ in range(40)]
    counts = np.stack(scans)  # [scan, factor, angle, bin, tof, k]
    mean, variance = counts.mean(axis=0), counts.var(axis=0, ddof=1)
    for position, factor in enumerate([1, 4, 20]):
        m, v = mean[position], variance[position]
        assert v.sum() / m.sum() == pytest.approx(1, abs=0.02)
        assert m.sum() == pytest.approx(2e5 / factor, rel=0.005)


@pytest.mark.parametrize("doses", [thinned, drawn_from_lowest_dose])
def test_lower_doses_are_subsets_of_higher_ones(
    model: BlurredProjector, cylinder: np.ndarray, doses: Doses
) -> None:
    counts = doses(cylinder, model, [1, 2, 4, 10, 20, 50, 100], np.random.default_rng(0), 1e5)
    assert (np.diff(counts, axis=0) <= 0).all()
    np.testing.assert_array_equal(counts, counts.round())


def test_thinning_leaves_the_full_dose_unchanged(
    model: BlurredProjector, cylinder: np.ndarray
) -> None:
    rng = np.random.default_rng(0)
    scanned = acquire(cylinder, 0 * cylinder, model, generator=rng, expected_trues=1e5)
    np.testing.assert_array_equal(thin(scanned.counts, [1, 4], rng)[0], scanned.counts)


@pytest.mark.parametrize("doses", [thinned, drawn_from_lowest_dose])
def test_covariance_of_doses_is_that_of_subsets(
    model: BlurredProjector, cylinder: np.ndarray, doses: Doses
) -> None:
    """The covariance of a Poisson number and a binomial subset of it is the subset's mean."""
    rng = np.random.default_rng(0)
    scans = np.stack([doses(cylinder, model, [1, 4], rng, 2e5) for _ in range(40)])
    full, low = np.moveaxis(scans, 1, 0)
    covariance = ((full - full.mean(axis=0)) * (low - low.mean(axis=0))).sum() / 39
    assert covariance == pytest.approx(low.mean(axis=0).sum(), rel=0.02)


@pytest.mark.parametrize("factors", [[4, 1], [0.5, 2]])
def test_factors_out_of_order_or_below_one_are_refused(
    model: BlurredProjector, cylinder: np.ndarray, factors: list[float]
) -> None:
    with pytest.raises(ValueError, match="ascending"):
        thin(np.ones((1, 1, 1, 1), np.float32), factors, np.random.default_rng(0))
    with pytest.raises(ValueError, match="ascending"):
        drawn_from_lowest_dose(cylinder, model, factors, np.random.default_rng(0), 1e5)


def test_water_attenuates_by_the_exponential_of_its_chord(cylinder: np.ndarray) -> None:
    projector = ParallelProjector(N, VOXEL_MM, 4)
    factors = attenuation_factors(0.096 * cylinder, projector)[:, N // 2, 0, 0]
    chord_cm = projector.forward(cylinder)[:, N // 2, 0, 0] / 10
    np.testing.assert_allclose(factors, np.exp(-0.096 * chord_cm), rtol=1e-5)


def test_attenuation_of_oblique_lines_is_their_mean_over_obliquity(cylinder: np.ndarray) -> None:
    """The lines are uniform in the sine of their obliquity; the reference is a fine quadrature."""
    projector = ParallelProjector(N, VOXEL_MM, 4)
    in_slice = attenuation_factors(0.096 * cylinder, projector)
    oblique = attenuation_factors(0.096 * cylinder, projector, acceptance=0.9)
    sine = (np.arange(2000) + 0.5) / 2000 * 0.9
    length = -np.log(in_slice[0, N // 2, 0, 0])
    assert oblique[0, N // 2, 0, 0] == pytest.approx(
        np.exp(-length / np.sqrt(1 - sine**2)).mean(), rel=0.01
    )


def test_scatter_and_randoms_fractions_are_as_nema_defines_them(
    model: BlurredProjector, cylinder: np.ndarray
) -> None:
    scanned = acquire(
        cylinder,
        0.096 * cylinder,
        model,
        generator=np.random.default_rng(0),
        expected_trues=1e6,
        scatter_fraction=0.4,
        randoms_fraction=0.3,
    )
    additive = scanned.additive.sum() * len(model.projector.angles_rad)
    trues_and_scatter = 1e6 / 0.6
    assert additive == pytest.approx(trues_and_scatter / 0.7 - 1e6, rel=1e-3)
    assert scanned.counts.sum() == pytest.approx(trues_and_scatter / 0.7, rel=0.005)


def test_bins_around_the_body_receive_their_fraction_of_the_randoms(
    model: BlurredProjector, cylinder: np.ndarray
) -> None:
    """A field twice as wide as the bins spreads the randoms over twice the lines, and over twice
    the time of flight."""
    options = {"expected_trues": 1e6, "randoms_fraction": 0.3}
    additive_sums = [
        acquire(
            cylinder,
            0 * cylinder,
            model,
            generator=np.random.default_rng(0),
            field_mm=field_mm,
            **options,
        ).additive.sum()
        for field_mm in (None, 2 * N * VOXEL_MM)
    ]
    views = len(model.projector.angles_rad)
    assert additive_sums[0] == pytest.approx(1e6 * 0.3 / 0.7 / views, rel=1e-3)
    assert additive_sums[1] == pytest.approx(additive_sums[0] / 4, rel=1e-3)


def test_noise_of_a_slice_does_not_depend_on_its_stack(
    model: BlurredProjector, cylinder: np.ndarray
) -> None:
    def streams(first: int, last: int) -> list[np.random.Generator]:
        return [np.random.default_rng([7, k]) for k in range(first, last)]

    pair = BlurredProjector(model.projector, Resolution(6, 1e-3), n_slices=2, slice_mm=VOXEL_MM)
    whole = BlurredProjector(
        model.projector, Resolution(6, 1e-3), n_slices=SLICES, slice_mm=VOXEL_MM
    )
    options = {"counts_per_activity_mm": 0.05, "normalisation_error": 0.02}
    all_slices = acquire(cylinder, 0 * cylinder, whole, generator=streams(0, SLICES), **options)
    part = acquire(
        cylinder[..., 1:3], 0 * cylinder[..., 1:3], pair, generator=streams(1, 3), **options
    )
    np.testing.assert_array_equal(part.counts, all_slices.counts[..., 1:3])


def test_normalisation_error_is_the_spread_of_the_lines_means(model: BlurredProjector) -> None:
    uniform = np.ones((N, N, SLICES), np.float32)
    scanned = acquire(
        uniform,
        0 * uniform,
        model,
        generator=np.random.default_rng(0),
        expected_trues=4e9,
        normalisation_error=0.05,
    )
    expected = model.forward(uniform) * scanned.multiplicative
    per_line = scanned.counts.sum(axis=2) / np.maximum(expected.sum(axis=2), 1e-9)
    assert per_line[:, 8:-8].std() == pytest.approx(0.05, rel=0.05)
