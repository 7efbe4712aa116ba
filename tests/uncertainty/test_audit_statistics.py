"""The statistics of an audit, against closed forms and simulated fields."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr
from scipy.stats import gamma

from petdiff.uncertainty.audit.compare import without_faces
from petdiff.uncertainty.audit.findings import allowed, focus_contrast
from petdiff.uncertainty.audit.noise import (
    NEGATIVE_NOISE_RATIO,
    deviations,
    noise_by_scale,
    noise_level,
)
from petdiff.uncertainty.audit.scales import SMALLEST_MM, WorkingGrid, at_scales
from petdiff.uncertainty.audit.search_region import SearchRegion


def smooth_field(seed: int, sigma: float, side: int = 28) -> np.ndarray:
    """A normal field of unit variance: white noise smoothed by a Gaussian of `sigma`."""
    white = np.random.default_rng(seed).normal(size=(side + 24,) * 3)
    field = gaussian_filter(white, sigma) * (4 * np.pi * sigma**2) ** 0.75
    return field[12:-12, 12:-12, 12:-12].astype(np.float32)


def test_roughness_is_that_of_a_gaussian_correlation() -> None:
    field = smooth_field(0, 2.0, 60)
    region = SearchRegion.of([field], np.ones(field.shape, bool))
    # The gradient of such a field has a variance of 1/(2σ²) along each axis.
    assert region.volumes[0] / region.voxels[0] == pytest.approx((2 * 2.0**2) ** -1.5, rel=0.15)

    # The field may have another standard deviation than 1, where the noise is estimated wrongly.
    calmer = SearchRegion.of([0.5 * field], np.ones(field.shape, bool))
    assert calmer.volumes == pytest.approx(region.volumes, rel=0.01)


@pytest.mark.parametrize("z", [4.0, 5.5])
def test_the_p_value_is_worsleys(z: float) -> None:
    """1000 resolution elements; densities of table II of Worsley et al. 1996, for both signs."""
    region = SearchRegion([10**9], [1000 * (4 * np.log(2)) ** 1.5])
    density = (4 * np.log(2)) ** 1.5 / (2 * np.pi) ** 2 * (z**2 - 1) * np.exp(-(z**2) / 2)
    assert region.p_value(z) == pytest.approx(min(2 * (1000 * density + ndtr(-z)), 1), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 0.01, 1e-6])
def test_the_threshold_has_the_p_value_alpha(alpha: float) -> None:
    region = SearchRegion([100_000, 100_000], [30_000.0, 8_000.0])
    assert region.p_value(region.threshold(alpha)) == pytest.approx(alpha, rel=1e-6)


def test_the_maximum_of_a_field_exceeds_the_threshold_with_probability_alpha() -> None:
    inside = np.ones((28, 28, 28), bool)
    fields = [smooth_field(seed, 1.5) for seed in range(60)]
    region = SearchRegion.of(fields[:1], inside)
    needed = region.threshold(0.3)
    assert region.p_value(needed) == pytest.approx(0.3, rel=1e-6)
    share = np.mean([np.abs(field).max() > needed for field in fields])
    assert 0.12 <= share <= 0.48  # 0.3 ± 3 binomial standard errors


def test_the_maximum_of_a_single_plane_exceeds_the_threshold_with_probability_alpha() -> None:
    inside = np.ones((48, 48, 1), bool)
    white = np.random.default_rng(0).normal(size=(100, 72, 72))
    planes = gaussian_filter(white, (0, 1.5, 1.5)) * (4 * np.pi * 1.5**2) ** 0.5
    fields = planes[:, 12:-12, 12:-12, None].astype(np.float32)
    for axes in ((0, 1, 2), (2, 0, 1)):
        region = SearchRegion.of([fields[0].transpose(axes)], inside.transpose(axes))
        needed = region.threshold(0.3)
        share = np.mean([np.abs(field).max() > needed for field in fields])
        assert 0.16 <= share <= 0.44  # 0.3 ± 3 binomial standard errors


def test_no_p_value_exceeds_that_of_independent_voxels() -> None:
    white = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    region = SearchRegion.of([white], np.ones(white.shape, bool))
    assert region.p_value(5.0) <= 8000 * 2 * ndtr(-5.0) * 1.0001
    assert region.p_value(1.0) == 1
    assert region.p_value(-5.0) == region.p_value(5.0)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("sigmas", [2.0, 4.0, 5.5])
def test_positive_noise_of_counts_becomes_normal(share: float, sigmas: float) -> None:
    shape = 1 / share**2  # a gamma variable of mean 1 and this deviation
    value = gamma.isf(ndtr(-sigmas), shape, scale=1 / shape)
    one = np.float32([share])
    z = deviations(np.float32([value - 1]), one, one, np.float32([1]))
    assert z[0] == pytest.approx(sigmas, abs=0.25)


def test_negative_noise_is_transformed_linearly() -> None:
    one = np.float32([0.2])
    z = deviations(np.float32([-0.6]), one, one, np.float32([1]))
    assert z[0] == pytest.approx(-3 / NEGATIVE_NOISE_RATIO)


def test_a_gaussian_focus_has_the_mean_and_contrast_of_the_closed_form() -> None:
    squares = [(np.arange(n) - 24) ** 2 for n in (49, 49, 49)]
    sigma_mm, size = 5.0, 2.0
    r2 = size**2 * (squares[0][:, None, None] + squares[1][:, None] + squares[2])
    focus = np.exp(-r2 / (2 * sigma_mm**2)).astype(np.float32)
    for scale in at_scales(focus, (size,) * 3):
        own = scale.radius_mm**2 / 5

        def height(variance: float) -> float:
            return float((sigma_mm**2 / (sigma_mm**2 + variance)) ** 1.5)

        assert scale.mean[24, 24, 24] == pytest.approx(height(own), rel=0.03)
        contrast = height(own) - height(4 * own)
        assert scale.contrast[24, 24, 24] == pytest.approx(contrast, rel=0.05)


@pytest.mark.parametrize(("shape", "expected"), [("ball", 0.87), ("gaussian", 0.95)])
def test_the_contrast_loses_little_of_the_signal_to_noise_ratio(
    shape: str, expected: float
) -> None:
    """The noise of a linear filter of white noise is the norm of its response to an impulse."""
    impulse = np.zeros((65, 65, 65), np.float32)
    impulse[32, 32, 32] = 1
    scale = next(at_scales(impulse, (0.5,) * 3))
    squares = 0.25 * (np.arange(65) - 32.0) ** 2
    r2 = squares[:, None, None] + squares[:, None] + squares
    radius2 = scale.radius_mm**2
    focus = r2 < radius2 if shape == "ball" else np.exp(-r2 / (2 * radius2 / 5))
    contrast, mean = (
        (focus * response).sum() / np.linalg.norm(response)
        for response in (scale.contrast, scale.mean)
    )
    assert contrast / mean == pytest.approx(expected, abs=0.01)


def test_a_uniform_change_has_no_contrast() -> None:
    for scale in at_scales(np.full((30, 30, 30), 3.0, np.float32), (3.0, 3.0, 4.0)):
        assert np.abs(scale.contrast).max() < 1e-5


def test_the_level_of_white_noise_is_its_standard_deviation_after_the_filter() -> None:
    white = np.random.default_rng(1).normal(size=(40, 40, 40)).astype(np.float32)
    scale = next(at_scales(white + 10, (3.0,) * 3))
    inside = np.ones(white.shape, bool)
    level = noise_level(scale.contrast, np.full(white.shape, 10, np.float32), inside, (3.0,) * 3)
    impulse = np.zeros((25, 25, 25), np.float32)
    impulse[12, 12, 12] = 1
    filtered = next(at_scales(impulse, (3.0,) * 3)).contrast
    assert scale.radius_mm == SMALLEST_MM
    assert np.median(level) == pytest.approx(np.sqrt((filtered**2).sum()), rel=0.05)


def test_a_focus_does_not_raise_the_level_around_itself() -> None:
    white = np.random.default_rng(2).normal(size=(40, 40, 40)).astype(np.float32)
    activity, inside = np.full(white.shape, 10, np.float32), np.ones(white.shape, bool)
    with_focus = white.copy()
    with_focus[20, 20, 20] += 1000
    levels = [
        noise_level(next(at_scales(v, (3.0,) * 3)).contrast, activity, inside, (3.0,) * 3)
        for v in (white, with_focus)
    ]
    assert levels[1][20, 20, 20] == pytest.approx(levels[0][20, 20, 20], rel=0.05)


def test_the_level_grows_with_activity_and_forgets_outliers() -> None:
    """The noise of a region of 16 times the activity is 16^0.6 times as large."""
    white = np.random.default_rng(3).normal(size=(80, 30, 30)).astype(np.float32)
    activity, inside = np.full(white.shape, 1, np.float32), np.ones(white.shape, bool)
    activity[40:] = 16
    contrast = next(at_scales(white, (4.0,) * 3)).contrast * activity ** np.float32(0.6)
    level = noise_level(contrast, activity, inside, (4.0,) * 3)
    cold, hot = (float(np.median(level[part])) for part in (slice(5, 25), slice(55, 75)))
    assert hot / cold == pytest.approx(16**0.6, rel=0.05)
    outlier = contrast.copy()
    outlier[15, 15, 15] += 100 * cold
    near = (15, 15, 15 + 6)  # 24 mm away
    raised = noise_level(outlier, activity, inside, (4.0,) * 3)[near]
    assert raised == pytest.approx(level[near], rel=0.02)


def test_noise_falls_with_the_scale_like_that_of_the_residual_within_two_limits() -> None:
    """White noise falls with the root of the ball's volume, 2^(-3/4) from scale to scale."""
    white = 10 + np.random.default_rng(4).normal(size=(60, 60, 60)).astype(np.float32)
    inside = np.ones(white.shape, bool)
    contrasts = [scale.contrast for scale in at_scales(white, (3.0,) * 3)]
    level = noise_level(contrasts[0], np.full_like(white, 10), inside, (3.0,) * 3)
    as_white = 2 ** (-0.75 * np.arange(5))

    def found(*factors: float) -> list[float]:
        """The residual is the measured contrast at the finest scale, and a multiple at others."""
        pairs = ((c, c * factor) for c, factor in zip(contrasts, (1, *factors), strict=True))
        return noise_by_scale(pairs, level, inside, (3.0,) * 3)

    assert found(1, 1, 1, 1) == pytest.approx(as_white, rel=0.2)
    assert found(0, 0, 0, 0) == pytest.approx(as_white)  # what denoising left is no noise
    middle, most = found(1.2, 1, 1, 1)[1], found(50, 1, 1, 1)[1]
    assert found(1, 1, 1, 1)[1] <= middle <= most == found(500, 1, 1, 1)[1]
    assert most == pytest.approx(as_white[1], rel=0.3)  # in the tenth with the least contrast


def test_noise_and_tolerance_add_as_variances() -> None:
    noise, measured, denoised = (np.float32([value]) for value in (3, 80, 20))
    assert allowed(noise, measured, denoised)[0] == pytest.approx(np.hypot(3, 0.05 * 80))
    assert allowed(noise, denoised, measured)[0] == pytest.approx(5)


def test_a_focus_is_compared_with_the_median_of_six_balls_a_diameter_away() -> None:
    mean = np.zeros((21, 21, 21), np.float32)
    mean[10, 10, 10] = 7
    # A radius of 8 mm is 4, 2 and 1 voxels of these sizes.
    for value, (axis, step) in enumerate(((0, -8), (0, 8), (1, -4), (1, 4), (2, -2), (2, 2))):
        place = [10, 10, 10]
        place[axis] += step
        mean[tuple(place)] = (1, 2, 3, 4, 5, 100)[value]
    assert focus_contrast(mean, (10, 10, 10), 8.0, (2.0, 4.0, 8.0)) == 7 - 3.5


@pytest.mark.parametrize(("size_mm", "first"), [(1.0, 4.0), (8.0, 4.0), (9.0, 4 * 2**0.5)])
def test_a_ball_is_no_smaller_than_a_voxel(size_mm: float, first: float) -> None:
    scales = at_scales(np.ones((12, 12, 12), np.float32), (size_mm,) * 3)
    assert next(scales).radius_mm == pytest.approx(first)


def test_blocks_of_voxels_lie_around_their_middle() -> None:
    affine = np.array([[-1.0, 0, 0, 90], [0, 1.5, 0, -70], [0, 0, 4, 300], [0, 0, 0, 1]])
    grid = WorkingGrid.of((32, 32, 32), affine)
    assert grid.spacing_mm == (3, 3, 4)  # 3 × 2 × 1 voxels
    np.testing.assert_allclose(grid.affine[:3, 3], (affine @ [1, 0.5, 0, 1])[:3])
    np.testing.assert_allclose(np.diag(grid.affine), (-3, 3, 4, 1))
    part = grid.within((slice(2, 5), slice(1, 4), slice(3, 9)))
    np.testing.assert_allclose(part.affine[:3, 3], (grid.affine @ [2, 1, 3, 1])[:3])
    assert part.voxel(np.array([0, 0, 0])) == (7, 2, 3)
    assert part.position_mm(np.array([0, 0, 0])) == pytest.approx((90 - 7, -70 + 3, 300 + 12))


def test_voxels_within_12_mm_of_a_face_are_left_out() -> None:
    inside = without_faces(np.ones((40, 40, 5), bool), (4.0, 5.0, 4.0))
    expected = np.zeros((40, 40, 5), bool)
    expected[3:-3, 3:-3] = True  # and of thin scans all planes are kept
    np.testing.assert_array_equal(inside, expected)
