"""The texture of noise: nearly the anisotropy of a reconstruction, and unit variance everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from petdiff.simulation.scanner.acquisition import acquire
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.reconstruction import osem
from petdiff.simulation.scanner.resolution import BlurredProjector, Resolution
from petdiff.thinning.coloured_noise import coloured_noise
from petdiff.thinning.expected import measured_lines
from petdiff.thinning.noise_map import noise_map
from petdiff.thinning.texture import bands, local_texture, texture_on

Place = tuple[int, int]

MM = (6.0, 6.0, 6.0)
SHAPE = (68, 68, 24)


def ellipse(half_i_mm: float, half_j_mm: float) -> NDArray[np.bool_]:
    i, j, _ = (np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2) * 6.0
    return np.asarray((i / half_i_mm) ** 2 + (j / half_j_mm) ** 2 < 1)


def reconstructed(body: NDArray[np.bool_], seed: int = 0) -> NDArray[np.float32]:
    """A scan of a warm body by OSEM with time of flight; slices are independent."""
    projector = ParallelProjector(SHAPE[:2], MM[0], 40, subsets=4, n_bins=96, tof_fwhm_mm=45.0)
    model = BlurredProjector(projector, Resolution(4.0, 0.0), n_slices=SHAPE[2], slice_mm=MM[2])
    scanned = acquire(
        body.astype(np.float32),
        0.096 * body.astype(np.float32),
        model,
        generator=np.random.default_rng(seed),
        expected_trues=2.5e5 * SHAPE[2],
        scatter_fraction=0.37,
        randoms_fraction=0.3,
    )
    images = osem(
        [scanned.counts],
        model,
        iterations=6,
        multiplicative=scanned.multiplicative,
        additive=scanned.additive,
    )
    return np.asarray(images[0], np.float32)


def across_over_front_to_back(noise: NDArray[np.floating], places: Iterable[Place]) -> float:
    """Power of waves along i over that of waves along j at 0.04 to 0.08 per mm, around places."""
    taper = np.hanning(18)[1:-1]
    power = np.zeros((16, 16))
    for i, j in places:
        part = noise[i - 8 : i + 8, j - 8 : j + 8]
        part = (part - part.mean(axis=(0, 1))) * np.outer(taper, taper)[..., None]
        power += np.square(np.abs(np.fft.fft2(part, axes=(0, 1)))).mean(axis=2)
    i, j = np.abs(np.fft.fftfreq(16, MM[0]))[:, None], np.abs(np.fft.fftfreq(16, MM[0]))
    fine = (np.hypot(i, j) > 0.04) & (np.hypot(i, j) < 0.08)
    return float(power[fine & (i - j > 0.02)].mean() / power[fine & (j - i > 0.02)].mean())


@pytest.mark.parametrize("half_mm", [(170, 110), (110, 170)])
def test_noise_has_most_of_the_anisotropy_of_a_reconstruction(half_mm: tuple[int, int]) -> None:
    scan = reconstructed(ellipse(*half_mm))
    found = noise_map(scan, MM)
    noise = [coloured_noise(found.texture, found.colour.fwhm_mm, MM, seed) for seed in range(3)]
    at = (26, 30, 34, 38, 42)
    middle = list(product(at, at))
    true = across_over_front_to_back(scan - scan.mean(axis=2, keepdims=True), middle)
    drawn = across_over_front_to_back(np.concatenate(noise, axis=2), middle)
    assert (true if half_mm == (170, 110) else 1 / true) > 1.8
    assert 0.5 < np.log(drawn) / np.log(true) < 1.2


def test_noise_has_unit_variance_everywhere_and_the_power_of_its_bands() -> None:
    amplitudes = np.ones((7, 12, 1, 1))
    amplitudes[1, :, 0, 0] = np.linspace(3, 1, 12)  # waves along j
    amplitudes[4, :, 0, 0] = np.linspace(1, 3, 12)  # waves along i
    texture = texture_on(amplitudes, np.ones((7, 7)), (96, 64, 64))
    noise = coloured_noise(texture, (9.0, 9.0, 6.0), (4.0, 4.0, 4.0), seed=0)
    square = np.square(noise)
    np.testing.assert_allclose(square[:24].mean(), 1, rtol=0.03)
    np.testing.assert_allclose(square[36:60].mean(), 1, rtol=0.03)
    assert across_over_front_to_back(noise, [(16, 32)]) < 0.4
    assert across_over_front_to_back(noise, [(80, 32)]) > 2.5


def test_fine_voxels_show_the_noise_of_coarse_ones() -> None:
    texture = texture_on(np.ones((7, 1, 1, 1)), np.ones((7, 7)), (150, 150, 40))
    fine = coloured_noise(texture, (6.0, 6.0, 4.0), (1.5, 1.5, 2.0), seed=0)
    assert fine.shape == (150, 150, 40)
    assert fine.std() == pytest.approx(1, abs=0.03)
    power = np.square(np.abs(np.fft.fft2(fine, axes=(0, 1)))).mean(axis=2)
    across = np.hypot(*np.meshgrid(np.fft.fftfreq(150, 1.5), np.fft.fftfreq(150, 1.5)))
    expected = np.sqrt(1 + (across / 0.04) ** 2)
    expected *= np.exp(-np.square(2 * np.pi * 6.0 / 2.3548 * across))
    for lowest, highest in ((0.0, 0.03), (0.03, 0.06), (0.06, 0.1)):
        band = (across >= lowest) & (across < highest)
        share = power[band].sum() / power.sum()
        assert share == pytest.approx(expected[band].sum() / expected.sum(), rel=0.05)


def test_mean_power_over_directions_is_the_spectrum_of_the_scan() -> None:
    amplitudes = np.array([0.7, 0.4, 0.8, 1.2, 1.6, 1.2, 0.8])
    texture = texture_on(
        amplitudes[:, None, None, None], np.outer(amplitudes, amplitudes), (96, 96, 60)
    )
    noise = coloured_noise(texture, (9.0, 9.0, 6.0), (4.0, 4.0, 4.0), seed=0)
    power = np.square(np.abs(np.fft.fft2(noise, axes=(0, 1)))).mean(axis=2)
    across = np.hypot(*np.meshgrid(np.fft.fftfreq(96, 4), np.fft.fftfreq(96, 4)))
    expected = np.sqrt(1 + (across / 0.04) ** 2)
    expected *= np.exp(-np.square(2 * np.pi * 9.0 / 2.3548 * across))
    for lowest, highest in ((0.0, 0.02), (0.02, 0.035), (0.035, 0.05), (0.05, 0.07)):
        ring = (across >= lowest) & (across < highest)
        share = power[ring].sum() / power.sum()
        assert share == pytest.approx(expected[ring].sum() / expected.sum(), rel=0.05)


def test_texture_is_finite_where_there_is_hardly_any_activity() -> None:
    body = ellipse(170, 110)
    activity = np.where(body, 1.0, 1e-20).astype(np.float32)
    lines = measured_lines(activity * body, body, MM)
    assert np.isfinite(local_texture(activity, body, lines, MM).amplitudes).all()


def test_bands_add_up_to_one_at_every_frequency() -> None:
    i, j = np.random.default_rng(0).uniform(-0.2, 0.2, (2, 500))
    shares = bands(i, j)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    # Lines of the first band run along i, so its waves lie along j; of the fourth the reverse.
    np.testing.assert_allclose(bands(0.0, 0.1), [0, 1, 0, 0, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(bands(0.1, 0.0), [0, 0, 0, 0, 1, 0, 0], atol=1e-9)
    # Lines of the second band run along (cos 30°, -sin 30°), so its waves lie across that.
    oblique = 0.1 * np.sin(np.pi / 6), 0.1 * np.cos(np.pi / 6)
    np.testing.assert_allclose(bands(*oblique), [0, 0, 1, 0, 0, 0, 0], atol=1e-9)


def test_texture_of_a_part_is_that_part_of_the_texture() -> None:
    texture = texture_on(np.ones((7, 5, 4, 3)), np.ones((7, 7)), (40, 32, 24))
    part = texture[slice(10, 30), slice(0, 32), slice(4, 20)]
    for whole, cut, box in zip(
        texture.places, part.places, ((10, 30), (0, 32), (4, 20)), strict=True
    ):
        np.testing.assert_array_equal(cut, whole[slice(*box)])
    assert part.amplitudes is texture.amplitudes
