"""Noise power against white noise and known filters; grey levels against the IBSI's phantom."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petdiff.evaluation.texture import (
    GREY_LEVEL_SUV,
    cubes_within,
    grey_level_features,
    levelled_features,
    noise_power,
    spectral_distance,
)

MM = (1.65, 2.0, 3.0)

# Digital phantom of the Image Biomarker Standardisation Initiative, slice by slice; 0 is outside.
IBSI = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)


def white(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    cubes = 3 + 0.5 * white((40, 16, 14, 10))
    found = noise_power(cubes, MM)
    assert found.variance == pytest.approx(cubes.var(axis=(1, 2, 3)).mean(), rel=1e-9)
    flat = 0.25 * np.prod(MM)  # variance times voxel volume
    np.testing.assert_allclose(found.power[2:], flat, rtol=0.06)
    assert found.power[0] == pytest.approx(0, abs=1e-9)


def test_shells_fill_frequency_space_once() -> None:
    found = noise_power(white((1, 12, 9, 7)), MM)
    assert found.shell_per_mm3.sum() == pytest.approx(1 / np.prod(MM))
    assert (np.diff(found.frequency_per_mm) > 0).all()


def test_gaussian_filter_shapes_the_spectrum_as_its_transfer_function_says() -> None:
    """White noise filtered by a Gaussian of σ mm has the power exp(-4π²σ²f²)."""
    size, sigma_mm = 2.0, 3.0
    smooth = gaussian_filter(white((96, 96, 96)), sigma_mm / size, mode="wrap")
    blocks = smooth.reshape(3, 32, 3, 32, 3, 32).transpose(0, 2, 4, 1, 3, 5)
    found = noise_power(blocks.reshape(-1, 32, 32, 32), (size,) * 3)
    f = found.frequency_per_mm
    expected = size**3 * np.exp(-4 * np.pi**2 * sigma_mm**2 * f**2)
    middle = (f > 0.04) & (f < 0.09)
    assert middle.sum() >= 2
    # The edges of the cubes blur the spectrum a little.
    np.testing.assert_allclose(found.power[middle], expected[middle], rtol=0.15)
    assert found.mean_frequency_per_mm < 0.1
    inside = blocks.reshape(-1, 32**3).var(axis=1).mean()
    assert found.variance == pytest.approx(inside, rel=1e-9)


def test_distance_to_itself_to_louder_and_to_other_noise() -> None:
    cubes = white((20, 12, 12, 12))
    mm = (2.0, 2.0, 2.0)
    here = noise_power(cubes, mm)
    assert spectral_distance(here, here) == (0, 0)
    louder = spectral_distance(here, noise_power(2 * cubes, mm))
    assert louder[0] == pytest.approx(3)  # power grows by the square
    assert louder[1] == pytest.approx(0, abs=1e-12)
    assert spectral_distance(here, noise_power(0 * cubes, mm)) == (pytest.approx(1), 1)
    smooth = gaussian_filter(cubes, (0, 1.5, 1.5, 1.5))
    whole, shape = spectral_distance(here, noise_power(smooth, mm))
    assert 0.5 < whole < 1
    assert 0.5 < shape < 1


def test_difference_of_two_noises_over_root_two_is_one_noise() -> None:
    one, other = (white((60, 12, 12, 12), seed) for seed in (1, 2))
    object_ = np.linspace(0, 5, 12)
    found = noise_power((one + object_ - (other + object_)) / np.sqrt(2), (2.0, 2.0, 2.0))
    assert found.variance == pytest.approx(1, rel=0.02)


def test_cubes_lie_within_the_region() -> None:
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[4:30, 5:35, 6:20] = True
    cubes = cubes_within(mask, (2.5, 2.5, 2.5))
    assert cubes
    assert all(mask[cube].shape == (10, 10, 10) and mask[cube].all() for cube in cubes)
    assert cubes_within(mask, (1.0, 1.0, 1.0)) == []


def test_grey_levels_of_the_digital_phantom() -> None:
    """Reference values of the IBSI, "dig. phantom, 3D, averaged", to its three figures."""
    found = levelled_features(IBSI)
    assert (IBSI > 0).sum() == 74
    assert found["joint_average"] == pytest.approx(2.14, abs=0.005)
    assert found["high_grey_level_run_emphasis"] == pytest.approx(9.7, abs=0.05)
    assert found["zone_percentage"] == pytest.approx(0.0676, abs=0.00005)


def test_grey_levels_turn_with_the_image_and_start_at_zero() -> None:
    found = levelled_features(IBSI)
    for turned in (IBSI.transpose(2, 0, 1), IBSI[::-1, :, ::-1]):
        assert levelled_features(turned) == pytest.approx(found)
    suv = (IBSI - 0.5) * GREY_LEVEL_SUV
    assert grey_level_features(suv, IBSI > 0) == pytest.approx(found)


def test_even_region_is_one_zone_and_one_voxel_is_enough() -> None:
    even = levelled_features(np.full((4, 4, 4), 3))
    assert even == {
        "joint_average": 3,
        "high_grey_level_run_emphasis": 9,
        "zone_percentage": pytest.approx(1 / 64),
    }
    assert levelled_features(np.array([[[5]]]))["joint_average"] == 5


def test_very_hot_regions_cost_no_more_than_others() -> None:
    """Bins of 0.25 SUV up to a value in Bq/ml: a list of all of them would not fit in memory."""
    values = np.full((5, 5, 5), 1e12)
    values[2] = 2e12
    features = grey_level_features(values, np.ones(values.shape, bool))
    assert features["zone_percentage"] == pytest.approx(3 / 125)
