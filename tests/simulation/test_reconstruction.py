"""OSEM is unbiased, has the expected noise, and gives the same images with torch."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.simulation.scanner.acquisition import Acquisition, acquire, thin
from petdiff.simulation.scanner.projector import FWHM_PER_SIGMA, ParallelProjector
from petdiff.simulation.scanner.reconstruction import osem
from petdiff.simulation.scanner.resolution import BlurredProjector, Resolution, gaussian_matrix

N, VOXEL_MM, SLICES = 48, 5.0, 8
TOF = pytest.mark.parametrize("tof_fwhm_mm", [None, 34.0], ids=["plain", "time-of-flight"])


def radius_mm() -> np.ndarray:
    x = (np.arange(N) - (N - 1) / 2) * VOXEL_MM
    return np.hypot(x[:, None], x)


def cylinder() -> np.ndarray:
    return np.repeat((radius_mm() < 90)[..., None], SLICES, axis=2).astype(np.float32)


def blurred_projector(
    tof_fwhm_mm: float | None = None, *, fwhm_mm: float = 6.0
) -> BlurredProjector:
    projector = ParallelProjector(N, VOXEL_MM, 24, subsets=4, tof_fwhm_mm=tof_fwhm_mm)
    return BlurredProjector(
        projector, Resolution(fwhm_mm, fwhm_mm, 400), n_slices=SLICES, slice_mm=VOXEL_MM
    )


def images(
    scanned: Acquisition,
    model: BlurredProjector,
    *,
    factors: tuple[float, ...] = (1.0,),
    seed: int = 0,
    iterations: int = 6,
) -> np.ndarray:
    """Return the images [dose, i, j, k]."""
    return osem(
        thin(scanned.counts, factors, np.random.default_rng(seed)),
        model,
        iterations=iterations,
        multiplicative=scanned.multiplicative,
        additive=scanned.additive,
        exposures=[1 / factor for factor in factors],
    )


def scan_cylinder(model: BlurredProjector, seed: int, trues: float) -> Acquisition:
    return acquire(
        cylinder() * 3,
        0.096 * cylinder(),
        model,
        generator=np.random.default_rng(seed),
        expected_trues=trues,
        scatter_fraction=0.35,
        randoms_fraction=0.3,
    )


@TOF
def test_a_warm_cylinder_is_unbiased_at_every_dose(tof_fwhm_mm: float | None) -> None:
    model = blurred_projector(tof_fwhm_mm)
    inside = radius_mm() < 70
    means = [
        images(scan_cylinder(model, seed, 4e6), model, factors=(1, 10))[:, inside].mean(axis=(1, 2))
        for seed in range(3)
    ]
    np.testing.assert_allclose(np.mean(means, axis=0), 3.0, rtol=0.01)


def test_variance_is_inversely_proportional_to_counts() -> None:
    model = blurred_projector(34.0)
    inside = radius_mm() < 70
    variance = []
    for trues in (2e6, 8e6):
        scans = [images(scan_cylinder(model, seed, trues), model)[:, inside] for seed in range(4)]
        variance.append(np.var(scans, axis=0, ddof=1).mean())
    assert variance[0] / variance[1] == pytest.approx(4, rel=0.1)


def test_reconstructed_activity_projects_to_the_counts() -> None:
    """After an iteration of expectation maximisation, expected and measured totals are equal."""
    projector = ParallelProjector(N, VOXEL_MM, 24)
    model = BlurredProjector(projector, Resolution(6, 6), n_slices=SLICES, slice_mm=VOXEL_MM)
    scanned = scan_cylinder(model, 0, 1e6)
    nothing = np.zeros_like(scanned.additive)
    trues = Acquisition(scanned.counts, scanned.multiplicative, nothing)
    (image,) = images(trues, model, iterations=2)
    expected = model.forward(image) * scanned.multiplicative
    assert expected.sum() == pytest.approx(scanned.counts.sum(), rel=1e-4)


def test_volumes_reconstructed_together_are_independent() -> None:
    model = blurred_projector()
    scanned = scan_cylinder(model, 0, 1e6)
    alone = images(scanned, model)
    together = images(scanned, model, factors=(1, 50))
    np.testing.assert_allclose(together[:1], alone, rtol=1e-3, atol=1e-4)


def test_few_views_suffice_with_time_of_flight() -> None:
    """Half as many views give the same image of a disc, because the time-of-flight kernel is
    narrower than the disc."""
    hot = (cylinder() + 3 * (radius_mm() < 20)[..., None]).astype(np.float32)
    reconstructed = []
    for views in (24, 48):
        projector = ParallelProjector(N, VOXEL_MM, views, subsets=4, tof_fwhm_mm=30.0)
        model = BlurredProjector(projector, Resolution(6, 6), n_slices=SLICES, slice_mm=VOXEL_MM)
        counts = model.forward(hot)
        factors = {"multiplicative": np.ones_like(counts[:, :, :1]), "additive": 0 * counts[:1]}
        reconstructed.extend(osem([counts], model, iterations=4, **factors))
    inside = radius_mm() < 80
    assert np.abs(reconstructed[0] - reconstructed[1])[inside].mean() < 0.01 * hot[inside].mean()


def test_blurred_back_is_the_adjoint_of_blurred_forward() -> None:
    rng = np.random.default_rng(0)
    model = blurred_projector(34.0)
    x = rng.random((N, N, SLICES), dtype=np.float32)
    y = rng.random((*model.projector.sinogram_shape, SLICES), dtype=np.float32)
    assert np.vdot(model.forward(x), y) == pytest.approx(np.vdot(x, model.back(y)), rel=1e-5)


def test_blurring_the_bins_equals_blurring_the_image() -> None:
    """Test the projection theorem for a small hot disc off the axis."""
    n, voxel_mm = 96, 2.5
    plain = ParallelProjector(n, voxel_mm, 6)
    blurred = BlurredProjector(plain, Resolution(12, 1e-3), n_slices=1, slice_mm=2.5)
    x = (np.arange(n) - (n - 1) / 2) * voxel_mm
    sharp = (np.hypot(x[:, None] - 33, x + 41) < 13).astype(np.float32)[..., None]
    kernel = gaussian_matrix(n, 12 / voxel_mm)
    blurred_image = np.einsum("ai,ijk,bj->abk", kernel, sharp, kernel)
    projected = blurred.forward(sharp)
    np.testing.assert_allclose(projected, plain.forward(blurred_image), atol=0.01 * projected.max())


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("fwhm", [0.5, 2.0, 7.0])
def test_discrete_gaussian_has_the_width_it_is_given(fwhm: float, reflect: bool) -> None:
    matrix = gaussian_matrix(81, fwhm, reflect=reflect)
    kernel, m = matrix[:, 40].astype(float), np.arange(81) - 40
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel * m**2).sum() == pytest.approx((fwhm / FWHM_PER_SIGMA) ** 2, rel=1e-4)
    if reflect:
        np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-5)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)


def test_torch_and_numpy_give_the_same_images() -> None:
    torch = pytest.importorskip("torch")
    model = blurred_projector(34.0)
    scanned = scan_cylinder(model, 0, 1e6)
    ours = images(scanned, model, iterations=2)
    torch_model = BlurredProjector(
        model.projector.to("cpu"), model.resolution, n_slices=SLICES, slice_mm=VOXEL_MM
    )
    theirs = osem(
        [torch.from_numpy(scanned.counts)],
        torch_model,
        iterations=2,
        multiplicative=torch.from_numpy(scanned.multiplicative),
        additive=torch.from_numpy(scanned.additive),
    )
    np.testing.assert_allclose(theirs, ours, rtol=2e-3, atol=1e-4 * ours.max())
