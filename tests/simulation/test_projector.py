"""The projector agrees with its adjoint, with formulas, with astra-toolbox and with torch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from petdiff.simulation.scanner.projector import FWHM_PER_SIGMA, ParallelProjector

TOF = pytest.mark.parametrize("tof_fwhm_mm", [None, 34.0], ids=["plain", "time-of-flight"])


def disc(n: int, voxel_mm: float, centre_mm: tuple[float, float], radius_mm: float) -> np.ndarray:
    """Return a disc [i, j, 1]; the value of a pixel is the fraction of it inside the disc."""
    fine = 16
    x = (np.arange(n * fine) - (n * fine - 1) / 2) * voxel_mm / fine
    inside = (x[:, None] - centre_mm[0]) ** 2 + (x - centre_mm[1]) ** 2 < radius_mm**2
    return inside.reshape(n, fine, n, fine).mean(axis=(1, 3))[..., None].astype(np.float32)


@TOF
def test_back_is_the_adjoint_of_forward(tof_fwhm_mm: float | None) -> None:
    rng = np.random.default_rng(0)
    projector = ParallelProjector((40, 32), 3.0, 12, subsets=3, n_bins=45, tof_fwhm_mm=tof_fwhm_mm)
    x = rng.random((40, 32, 3), dtype=np.float32)
    y = rng.random((*projector.sinogram_shape, 3), dtype=np.float32)
    assert np.vdot(projector.forward(x), y) == pytest.approx(
        np.vdot(x, projector.back(y)), rel=1e-5
    )


def test_subsets_divide_the_views_evenly() -> None:
    projector = ParallelProjector(24, 2.0, 12, subsets=4)
    shared = [view for subset in range(4) for view in projector.views(subset)]
    assert shared == list(projector.views())
    for subset in range(4):  # each subset is evenly spaced
        spacing = np.diff(projector.angles_rad[projector.views(subset)])
        np.testing.assert_allclose(spacing, np.pi / 3)
    assert sorted(projector.angles_rad) == pytest.approx((np.arange(12) + 0.5) * np.pi / 12)


@TOF
def test_line_integrals_of_a_disc_follow_the_chord(tof_fwhm_mm: float | None) -> None:
    n, voxel_mm, centre_mm, radius_mm = 128, 2.0, (18.0, -25.0), 80.0
    projector = ParallelProjector(n, voxel_mm, 16, tof_fwhm_mm=tof_fwhm_mm)
    projected = projector.forward(disc(n, voxel_mm, centre_mm, radius_mm))[..., 0].sum(axis=2)
    s_mm = (np.arange(n) - (n - 1) / 2) * voxel_mm
    angle = projector.angles_rad[:, None]
    off_mm = s_mm - (centre_mm[0] * np.cos(angle) + centre_mm[1] * np.sin(angle))
    inside = np.abs(off_mm) < 0.9 * radius_mm
    chord_mm = 2 * np.sqrt(radius_mm**2 - off_mm[inside] ** 2)
    np.testing.assert_allclose(projected[inside], chord_mm, rtol=0.01)


def test_time_of_flight_bins_contain_the_blurred_chord() -> None:
    """For a line through the centre, the expected value of a time bin is the integral over the
    chord from -r to r of a difference of normal distributions."""
    n, voxel_mm, radius_mm, fwhm_mm = 128, 2.0, 80.0, 40.0
    projector = ParallelProjector(n, voxel_mm, 8, tof_fwhm_mm=fwhm_mm)
    projected = projector.forward(disc(n, voxel_mm, (0.0, 0.0), radius_mm))[:, n // 2 - 1, :, 0]
    sigma_mm, width_mm = fwhm_mm / FWHM_PER_SIGMA, fwhm_mm / 2
    edges_mm = (np.arange(projector.n_tof + 1) - projector.n_tof / 2) * width_mm
    t_mm = np.linspace(-radius_mm, radius_mm, 4001)
    upper, lower = edges_mm[1:, None], edges_mm[:-1, None]
    share = ndtr((upper - t_mm) / sigma_mm) - ndtr((lower - t_mm) / sigma_mm)
    expected = np.trapezoid(share, t_mm, axis=1)
    np.testing.assert_allclose(
        projected, np.broadcast_to(expected, projected.shape), atol=0.01 * expected.max()
    )


def test_information_gain_of_time_of_flight_is_that_of_theory() -> None:
    """In the middle of a disc of diameter D, time of flight multiplies the information about a
    detail by D / (2 √π σ) (Tomitani, IEEE Trans Nucl Sci 1981). This is the ratio of the Fisher
    matrices AᵀΛ⁻¹A at medium spatial frequencies."""
    n, voxel_mm, diameter_mm, fwhm_mm = 64, 4.0, 220.0, 30.0
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n, voxel_mm)] * 2))  # per mm
    middle_band = (frequency > 0.03) & (frequency < 0.06)
    information = []
    for tof_fwhm_mm in (None, fwhm_mm):
        projector = ParallelProjector(n, voxel_mm, 90, tof_fwhm_mm=tof_fwhm_mm)
        point = np.zeros((n, n, 1), np.float32)
        point[n // 2, n // 2] = 1
        mean = projector.forward(disc(n, voxel_mm, (0, 0), diameter_mm / 2))
        row = projector.back(projector.forward(point) / mean.clip(min=1e-3))[..., 0]
        information.append(np.abs(np.fft.fft2(row))[middle_band].mean())
    gain = information[1] / information[0]
    sigma_mm = fwhm_mm / FWHM_PER_SIGMA
    assert gain == pytest.approx(diameter_mm / (2 * np.sqrt(np.pi) * sigma_mm), rel=0.1)


def test_every_view_contains_all_activity_in_the_field() -> None:
    rng = np.random.default_rng(0)
    for tof_fwhm_mm in (None, 30.0):
        projector = ParallelProjector(32, 3.0, 6, tof_fwhm_mm=tof_fwhm_mm)
        x = rng.random((32, 32, 1), dtype=np.float32)
        per_view = projector.forward(x).sum(axis=(1, 2, 3)) * 3.0
        in_field = x[projector.in_field].sum() * 3.0**2
        np.testing.assert_allclose(per_view, in_field, rtol=1e-5)


def test_pixels_outside_the_field_are_neither_projected_nor_back_projected() -> None:
    projector = ParallelProjector(20, 1.0, 6)
    x = np.where(projector.in_field, 0, 1).astype(np.float32)[..., None]
    assert not projector.forward(x).any()
    back_projected = projector.back(np.ones((*projector.sinogram_shape, 1), np.float32))
    assert not back_projected[~projector.in_field].any()


def test_subsets_that_do_not_divide_the_views_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of subsets"):
        ParallelProjector(16, 1.0, 10, subsets=4)


@pytest.mark.oracle
def test_agrees_with_astra() -> None:
    astra = pytest.importorskip("astra")
    n = 64
    projector = ParallelProjector(n, 1.0, 18)
    image = disc(n, 1.0, (5, -8), 15)[..., 0] * 2 + disc(n, 1.0, (-9, 4), 7)[..., 0] * 5
    volume = astra.create_vol_geom(n, n)
    # astra's first axis runs downwards and its lines turn from the second axis.
    rays = astra.create_proj_geom("parallel", 1.0, n, projector.angles_rad)
    strip = astra.create_projector("strip", rays, volume)
    sinogram_id, theirs = astra.create_sino(np.ascontiguousarray(image.T[::-1]), strip)
    astra.data2d.delete(sinogram_id)
    astra.projector.delete(strip)
    ours = projector.forward(image[..., None])[..., 0, 0]
    assert np.abs(ours - theirs).max() < 0.01 * theirs.max()


@TOF
def test_torch_and_scipy_give_the_same_projections(tof_fwhm_mm: float | None) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    projector = ParallelProjector(32, 3.0, 8, subsets=2, tof_fwhm_mm=tof_fwhm_mm)
    torch_projector = projector.to("cpu")
    x = rng.random((32, 32, 3), dtype=np.float32)
    y = rng.random((*projector.sinogram_shape, 3), dtype=np.float32)
    np.testing.assert_allclose(
        torch_projector.forward(torch.tensor(x)), projector.forward(x), rtol=1e-5
    )
    np.testing.assert_allclose(torch_projector.back(torch.tensor(y)), projector.back(y), rtol=1e-5)
