"""Volumes of the image-quality phantom agree with closed forms, recoveries with convolution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.special import erf

from petdiff.simulation.phantom.image_quality import (
    ARC_MM,
    BACKGROUND_BQML,
    CORNER_MM,
    DIAMETERS_MM,
    FLAT_MM,
    LUNG_RADIUS_MM,
    ImageQualityPhantom,
    image_quality_phantom,
    recoveries,
)

VOXEL_MM = (2.5, 2.5, 2.0)


@pytest.fixture(scope="module")
def phantom() -> ImageQualityPhantom:
    return image_quality_phantom(VOXEL_MM, length_mm=50, wall_mm=0, shift_mm=(0.4, -0.7, 0.3))


def test_the_filled_volume_is_that_of_the_outline(phantom: ImageQualityPhantom) -> None:
    area_mm2 = np.pi * ARC_MM**2 / 2 + np.pi * CORNER_MM**2 / 2 + 2 * FLAT_MM * CORNER_MM
    warm_mm2 = area_mm2 - np.pi * LUNG_RADIUS_MM**2
    slice_bq = phantom.activity_bqml[..., 0].sum() * VOXEL_MM[0] * VOXEL_MM[1]
    assert slice_bq / BACKGROUND_BQML == pytest.approx(warm_mm2, rel=2e-3)


def test_volume_of_each_sphere_does_not_depend_on_the_voxels(phantom: ImageQualityPhantom) -> None:
    positions_mm = np.stack(np.indices(phantom.activity_bqml.shape), axis=-1) * VOXEL_MM
    for sphere in phantom.spheres:
        near = np.linalg.norm(positions_mm - sphere.centre_mm, axis=-1) < sphere.diameter_mm / 2 + 4
        above = phantom.activity_bqml[near].astype(float) - BACKGROUND_BQML
        volume_mm3 = above.sum() * np.prod(VOXEL_MM) / (sphere.activity_bqml - BACKGROUND_BQML)
        assert volume_mm3 == pytest.approx(np.pi * sphere.diameter_mm**3 / 6, rel=0.01)


def test_walls_have_no_activity() -> None:
    walled = image_quality_phantom(VOXEL_MM, length_mm=50, wall_mm=1.0)
    bare = image_quality_phantom(VOXEL_MM, length_mm=50, wall_mm=0.0)
    lost = (bare.activity_bqml.astype(float) - walled.activity_bqml).sum() * np.prod(VOXEL_MM)
    radii = np.array(DIAMETERS_MM) / 2
    shells_mm3 = (4 / 3 * np.pi * ((radii + 1) ** 3 - radii**3)).sum()
    assert lost / BACKGROUND_BQML == pytest.approx(shells_mm3, rel=0.02)


def test_a_perfect_image_recovers_all_of_a_large_sphere(phantom: ImageQualityPhantom) -> None:
    found = recoveries(phantom.activity_bqml, phantom)
    assert found[0][1] == pytest.approx(1, abs=0.06)  # the contour lies on partly filled voxels
    assert [maximum for *_, maximum in found] == pytest.approx([1.0] * 6, abs=1e-5)


def test_recovery_of_a_blurred_sphere_is_that_of_convolution(phantom: ImageQualityPhantom) -> None:
    """A sphere of radius R convolved with a Gaussian has erf(a) - 2 a exp(-a²) / √π at its centre,
    with a = R / (σ √2). Partial volumes of voxels add a twelfth of their side squared to σ²."""
    sigma_mm = 3.0
    blurred = gaussian_filter(phantom.activity_bqml, sigma_mm / np.array(VOXEL_MM))
    wide_mm = np.sqrt(sigma_mm**2 + np.mean(np.square(VOXEL_MM)) / 12)
    for sphere, (mean, _, maximum) in zip(
        phantom.spheres, recoveries(blurred, phantom), strict=True
    ):
        a = sphere.diameter_mm / 2 / (wide_mm * np.sqrt(2))
        recovery = erf(a) - 2 * a * np.exp(-(a**2)) / np.sqrt(np.pi)
        at = np.array(sphere.centre_mm) / VOXEL_MM
        middle = map_coordinates(blurred, at[:, None], order=3)[0] / sphere.activity_bqml
        assert middle == pytest.approx(0.1 + 0.9 * recovery, abs=0.01)
        assert mean < maximum <= middle + 0.005
