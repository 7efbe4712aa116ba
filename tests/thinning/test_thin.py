"""Thinning: strength, spectrum and skewness of the noise are those of fewer counts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import skew

import petdiff
from petdiff.errors import InputRefused, UsageError
from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.thinning.colour import NoiseColour
from petdiff.thinning.coloured_noise import coloured_noise
from petdiff.thinning.draw import draw
from petdiff.thinning.noise_map import NoiseMap, noise_map
from petdiff.thinning.spectrum import share_left
from petdiff.thinning.texture import Texture, texture_on
from petdiff.thinning.thin import MeasuredScan
from petdiff.units import FWHM_PER_SIGMA

MM = (4.0, 4.0, 4.0)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (56, 48, 40)
FWHM_MM = (6.0, 6.0, 4.0)
RELATIVE = 0.12  # noise of the phantom at an activity of 1

Volume = NDArray[np.float32]


def phantom() -> Volume:
    """A cylinder with two hot balls, in air."""
    i, j, k = np.indices(SHAPE) * 4.0
    across = np.hypot(i - 110, j - 94)
    suv = np.where(across < 84, 1.0, 0.0)
    for centre in ((90, 70, 60), (140, 110, 100)):
        away = np.sqrt(sum((a - c) ** 2 for a, c in zip((i, j, k), centre, strict=True)))
        suv = np.where(away < 16, 4.0, suv)
    return np.asarray(gaussian_filter(suv, 0.8), np.float32)


def even_texture(shape: tuple[int, ...]) -> Texture:
    return texture_on(np.ones((7, 1, 1, 1)), np.ones((7, 7)), shape)


@cache
def noisy(seed: int = 1) -> PETImage:
    """The phantom with noise of known strength and width, relative to the root of activity."""
    suv = phantom()
    noise = coloured_noise(even_texture(SHAPE), FWHM_MM, MM, seed)
    return PETImage((suv + RELATIVE * np.sqrt(suv) * noise).clip(0).astype(np.float32), AFFINE)


def even_noise(relative: float, shape: tuple[int, ...]) -> NoiseMap:
    ones = np.ones(shape, np.float32)
    colour = NoiseColour((0.0, 0.0, 0.0), 1.0, 1.0)
    return NoiseMap(relative * ones, ones, ones > 0, colour, even_texture(shape))


@pytest.mark.parametrize("drf", [2, 20])
def test_thinned_gamma_scan_is_a_gamma_scan_of_fewer_counts(drf: int) -> None:
    relative = 0.2
    shape = (60, 60, 60)
    full = np.random.default_rng(0).gamma(relative**-2, relative**2, shape).astype(np.float32)
    low = draw(full, even_noise(relative, shape), 1 / drf, MM, seed=1)
    spread = relative * np.sqrt(drf)
    assert low.min() >= 0
    assert low.mean() == pytest.approx(1, abs=0.01)
    assert low.std() == pytest.approx(spread, rel=0.02)
    assert skew(low.ravel()) == pytest.approx(2 * spread, rel=0.1)


@pytest.mark.parametrize("drf", [1.5, 4])
def test_thinned_scan_with_negative_values_has_the_noise_of_fewer_counts(drf: float) -> None:
    """A reconstruction without a limit at 0 has Gaussian noise: 5 % of its voxels are negative."""
    shape = (50, 50, 50)
    full = np.random.default_rng(0).normal(2, 1.2, shape).astype(np.float32)
    noise = replace(even_noise(0.6, shape), activity=np.full(shape, 2, np.float32))
    low = draw(full, noise, 1 / drf, MM, seed=1)
    assert low.mean() == pytest.approx(2, abs=0.03)
    assert low.std() == pytest.approx(1.2 * np.sqrt(drf), rel=0.02)
    assert skew(low.ravel()) == pytest.approx(0, abs=0.05)


def test_noise_is_as_wide_along_the_axis_in_thin_slices() -> None:
    """White noise after a Gaussian of width σ has the correlation exp(-d²/4σ²)."""
    noise = coloured_noise(even_texture((40, 40, 120)), (0.0, 0.0, 8.0), (4.0, 4.0, 2.0), seed=0)
    expected = np.exp(-(2.0**2) / 4 / (8.0 / FWHM_PER_SIGMA) ** 2)
    assert (noise[..., 1:] * noise[..., :-1]).mean() == pytest.approx(expected, abs=0.02)


def test_coloured_noise_has_unit_variance_and_its_spectrum() -> None:
    noise = coloured_noise(even_texture((80, 80, 80)), (9.0, 9.0, 0.0), MM, seed=0)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert (noise[..., 1:] * noise[..., :-1]).mean() == pytest.approx(0, abs=0.01)
    power = np.square(np.abs(np.fft.fftn(noise, axes=(0, 1)))).mean(axis=2)
    across = np.hypot(*np.meshgrid(np.fft.fftfreq(80, 4), np.fft.fftfreq(80, 4)))
    rising = np.sqrt(1 + (across / 0.04) ** 2)
    expected = rising * np.exp(-np.square(2 * np.pi * 9.0 / 2.3548 * across))
    expected *= power.sum() / expected.sum()
    for lowest, highest in ((0, 0.015), (0.015, 0.03), (0.03, 0.05), (0.05, 0.07)):
        band = (across >= lowest) & (across < highest)
        assert power[band].mean() == pytest.approx(expected[band].mean(), rel=0.05)


def test_share_of_noise_left_at_10_mm_is_that_of_filtered_noise() -> None:
    noise = coloured_noise(even_texture((96, 96, 96)), FWHM_MM, MM, seed=0)
    filtered = gaussian_filter(noise, 10 / FWHM_PER_SIGMA / 4.0, mode="wrap")
    assert share_left(FWHM_MM, MM, 10.0) == pytest.approx(np.var(filtered), rel=0.03)


def test_strength_and_width_of_the_noise_are_found_in_the_scan_itself() -> None:
    scan = noisy()
    found = noise_map(scan.values, MM)
    even = phantom()[found.body]
    inside = np.flatnonzero((even > 0.98) & (even < 1.02))
    relative = np.median(found.relative[found.body][inside])
    assert relative == pytest.approx(RELATIVE, rel=0.05)
    assert found.colour.fwhm_mm == pytest.approx(FWHM_MM, abs=0.8)


def test_noise_at_10_mm_is_that_of_the_filtered_scan() -> None:
    scan, suv = noisy(), phantom()
    filtered = gaussian_filter(scan.values - suv, 10 / FWHM_PER_SIGMA / 4.0)
    even = (suv > 0.98) & (suv < 1.02)
    assert MeasuredScan(scan).noise_at_10_mm == pytest.approx(filtered[even].std(), rel=0.1)


def test_small_hot_objects_do_not_raise_the_noise() -> None:
    # A hot voxel has as flat a spectrum as noise, and far more of it.
    spots = np.zeros(SHAPE)
    spots[20, 16, 12] = spots[38, 30, 28] = 30.0
    suv = phantom() + gaussian_filter(spots, 0.4)
    noise = coloured_noise(even_texture(SHAPE), FWHM_MM, MM, seed=1)
    scan = (suv + RELATIVE * np.sqrt(suv) * noise).clip(0).astype(np.float32)
    found, expected = noise_map(scan, MM), noise_map(noisy().values, MM)
    assert found.median == pytest.approx(expected.median, rel=0.05)
    assert found.colour.fwhm_mm == pytest.approx(expected.colour.fwhm_mm, abs=0.3)


def test_thinned_scan_has_the_noise_of_its_counts() -> None:
    scan, drf = noisy(), 9
    low = petdiff.thin(scan, drf, seed=2).image
    suv = phantom()
    even = (suv > 0.98) & (suv < 1.02)
    added = (low.values - scan.values)[even].std()
    assert added == pytest.approx(RELATIVE * np.sqrt(drf - 1), rel=0.15)
    assert low.values.sum() == pytest.approx(scan.values.sum(), rel=0.01)
    assert low.values.min() >= 0


def test_the_seed_fixes_the_noise_and_the_scale_has_no_effect() -> None:
    scan = noisy()
    low = petdiff.thin(scan, 4, seed=5).image.values
    assert petdiff.thin(scan, 4, seed=5).image.values.tobytes() == low.tobytes()
    assert petdiff.thin(scan, 4, seed=6).image.values.tobytes() != low.tobytes()
    scaled = scan.with_values(scan.values * np.float32(2048))
    np.testing.assert_allclose(
        petdiff.thin(scaled, 4, seed=5).image.values, 2048 * low, rtol=1e-3, atol=1e-3
    )


def test_reconstruction_with_negative_values_stays_signed() -> None:
    values = phantom() + np.float32(0.4) * coloured_noise(even_texture(SHAPE), FWHM_MM, MM, seed=3)
    found = petdiff.thin(PETImage(values, AFFINE), 4)
    assert found.record.signed
    assert (found.image.values < 0).mean() > (values < 0).mean()
    assert found.image.values.mean() == pytest.approx(values.mean(), rel=0.02)


def test_axis_of_the_scanner_is_found_in_the_affine() -> None:
    scan = noisy()
    turned = PETImage(np.ascontiguousarray(scan.values.transpose(2, 0, 1)), AFFINE[:, [2, 0, 1, 3]])
    along = petdiff.thin(scan, 4, seed=1).image.values
    across = petdiff.thin(turned, 4, seed=1).image.values
    np.testing.assert_allclose(across.transpose(1, 2, 0), along, rtol=1e-5, atol=1e-5)


def frames(durations_s: tuple[float, ...], activity: tuple[float, ...]) -> PETFrames:
    images = tuple(
        PETImage(noisy(n + 1).values * np.float32(level), AFFINE)
        for n, level in enumerate(activity)
    )
    return PETFrames(images, tuple(FrameTiming(0.0, seconds) for seconds in durations_s))


def test_repeated_frames_are_left_out_and_no_noise_is_made() -> None:
    scan = frames((60.0,) * 4, (1.0,) * 4)
    found = petdiff.thin(scan, 2, seed=0)
    assert found.record.how == "frames"
    kept = [scan[n - 1].values for n in found.record.frames]
    np.testing.assert_allclose(found.image.values, (kept[0] + kept[1]) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.full.values, scan.mean().values)


@pytest.mark.parametrize(
    ("durations_s", "activity", "drf", "says"),
    [
        ((60.0,) * 4, (1.0,) * 4, 3, "have no share of 1/3"),
        ((60.0, 60.0, 90.0, 60.0), (1.0,) * 4, 2, "not of one known duration"),
        ((60.0,) * 4, (1.0, 1.0, 1.3, 1.0), 2, "activity changes"),
    ],
)
def test_frames_that_are_no_repetitions_are_refused(
    durations_s: tuple[float, ...], activity: tuple[float, ...], drf: float, says: str
) -> None:
    with pytest.raises(InputRefused, match=says):
        petdiff.thin(frames(durations_s, activity), drf)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(SHAPE, np.float32), "no activity"),
        (np.ones((6, 40, 40), np.float32), "are needed to measure its noise"),
        (np.ones(SHAPE, np.float32), "shows no noise"),
    ],
)
def test_scans_without_measurable_noise_are_refused(values: Volume, says: str) -> None:
    with pytest.raises(InputRefused, match=says):
        petdiff.thin(PETImage(values, AFFINE), 4)


@pytest.mark.parametrize("drf", [1, 0.25, float("nan"), float("inf")])
def test_factor_that_is_no_reduction_is_refused(drf: float) -> None:
    with pytest.raises(UsageError, match="`drf`"):
        petdiff.thin(noisy(), drf)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_filtered_scan_is_thinned_with_a_warning(sigma: float) -> None:
    scan = noisy()
    filtered = scan.with_values(gaussian_filter(scan.values, sigma))
    (warning,) = petdiff.thin(filtered, 4).record.warnings
    assert "filtered" in warning


def test_unfiltered_scan_is_thinned_without_a_warning() -> None:
    assert petdiff.thin(noisy(), 4).record.warnings == ()
