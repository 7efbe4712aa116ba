"""The image quality phantom: closed forms on an analytic one, pynemaiqpet on a real scan."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.special import erf

from petdiff.errors import InputRefused
from petdiff.evaluation.phantom import DIAMETERS_MM, EARL, find_spheres, measure_phantom

MM = (2.5, 2.5, 3.0)
SHAPE = (130, 104, 40)
CENTRE_MM = np.array([161.3, 128.9, 59.2])
ANGLES = np.deg2rad((10, 70, 130, 190, 250, 310))


def sphere_centres_mm() -> np.ndarray:
    ring = np.stack([57.2 * np.cos(ANGLES), 57.2 * np.sin(ANGLES), 0 * ANGLES], axis=1)
    return np.asarray(CENTRE_MM + ring)


def phantom(ratio: float = 10.0, fine: int = 4) -> np.ndarray:
    """An elliptic cylinder of 1 with a cold insert and six spheres, edges by supersampling."""
    x, y, z = (
        (np.arange(n * fine) + 0.5) / fine * size - size / 2 - c
        for n, size, c in zip(SHAPE, MM, CENTRE_MM, strict=True)
    )
    inside = np.add.outer((x / 147) ** 2, (y / 115) ** 2) < 1
    inside &= np.add.outer(x**2, y**2) > 22**2
    coarse = inside.reshape(SHAPE[0], fine, SHAPE[1], fine).mean(axis=(1, 3))
    volume = np.repeat(coarse[:, :, None], SHAPE[2], axis=2)
    for centre, diameter in zip(sphere_centres_mm() - CENTRE_MM, DIAMETERS_MM, strict=True):
        near = [np.abs(a - c) < diameter / 2 for a, c in zip((x, y, z), centre, strict=True)]
        low = [int(np.flatnonzero(n)[0]) // fine for n in near]
        high = [int(np.flatnonzero(n)[-1]) // fine + 1 for n in near]
        cut = [slice(a, b) for a, b in zip(low, high, strict=True)]
        parts = [
            a[s.start * fine : s.stop * fine] - c
            for a, s, c in zip((x, y, z), cut, centre, strict=True)
        ]
        distance = sum(np.square(p) for p in np.meshgrid(*parts, indexing="ij", sparse=True))
        ball = distance <= (diameter / 2) ** 2
        sizes = [s.stop - s.start for s in cut]
        share = ball.reshape(sizes[0], fine, sizes[1], fine, sizes[2], fine).mean(axis=(1, 3, 5))
        volume[tuple(cut)] += (ratio - 1) * share
    return np.asarray(volume, dtype=np.float32)


def blurred_ball(
    radius: float, sigma: float, dimensions: int, within: float | None = None
) -> float:
    """Mean of a ball of 1 after a Gaussian, within a radius, its own if none is given, of the ball
    (dimensions 3) or of the disc through its centre (2)."""
    end = radius if within is None else within
    total, _ = quad(lambda r: r ** (dimensions - 1) * profile(r, radius, sigma), 1e-6, end)
    return dimensions * total / end**dimensions


def profile(r: float, radius: float, sigma: float) -> float:
    root = sigma * np.sqrt(2)
    near, far = (np.exp(-(((r + s * radius) / root) ** 2)) for s in (-1, 1))
    edges = (erf((r + radius) / root) - erf((r - radius) / root)) / 2
    return float(edges - (near - far) * sigma / (r * np.sqrt(2 * np.pi)))


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    return phantom()


def test_spheres_are_found_where_they_are(sharp: np.ndarray) -> None:
    for volume in (sharp, gaussian_filter(sharp, 1.2)):
        found = np.array(find_spheres(volume, MM)) * MM
        np.testing.assert_allclose(found, sphere_centres_mm(), atol=0.05)


def test_sharp_phantom_shows_its_true_activities(sharp: np.ndarray) -> None:
    found = measure_phantom(sharp, MM, ratio=10.0)
    assert found.background_mean == pytest.approx(1, abs=1e-4)
    assert found.background_cov == pytest.approx(0, abs=1e-4)
    assert found.sphere_activity == pytest.approx(10, abs=1e-4)
    for sphere in found.spheres:
        assert sphere.maximum == pytest.approx(10, abs=1e-4)
        assert sphere.variability_percent == pytest.approx(0, abs=1e-2)


def test_blurred_phantom_loses_what_the_closed_form_says(sharp: np.ndarray) -> None:
    """Voxels blur as a box of their size does, pixels shared with the disc do so once more; whole
    voxels make the small spheres' edges coarse."""
    sigma_mm = 2.5
    blurred = gaussian_filter(sharp, [sigma_mm / size for size in MM])
    found = measure_phantom(blurred, MM, ratio=10.0, sphere_activity=10.0)
    box = float(np.mean(np.square(MM))) / 12
    voxels, discs = np.sqrt(sigma_mm**2 + box), np.sqrt(sigma_mm**2 + 2 * box)
    for sphere in found.spheres:
        radius, large = sphere.diameter_mm / 2, sphere.diameter_mm > 16
        u = radius / (voxels * np.sqrt(2))
        top = 1 + 9 * (erf(u) - 2 * u * np.exp(-(u**2)) / np.sqrt(np.pi))
        assert sphere.maximum == pytest.approx(top, rel=0.03)
        mean = 1 + 9 * blurred_ball(radius, voxels, 3)
        assert sphere.mean == pytest.approx(mean, rel=0.01 if large else 0.06)
        quality = 100 * blurred_ball(radius, discs, 2)
        assert sphere.contrast_percent == pytest.approx(quality, rel=0.01 if large else 0.06)
        assert sphere.recovery_max == pytest.approx(sphere.maximum / 10)
        level = (top - 1) / 18  # half way from background to maximum, of a ball of 1
        half = brentq(
            lambda r, *args: profile(r, *args[:2]) - args[2], 1, 25, (radius, voxels, level)
        )
        a50 = 1 + 9 * blurred_ball(radius, voxels, 3, half)
        assert sphere.mean_a50 == pytest.approx(a50, rel=0.01 if large else 0.06)


def test_background_varies_as_the_mean_of_a_disc_of_white_noise(sharp: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    noisy = sharp + 0.2 * rng.standard_normal(SHAPE).astype(np.float32)
    found = measure_phantom(noisy, MM)
    assert found.background_cov == pytest.approx(0.2, rel=0.03)
    for sphere in found.spheres:
        pixels = np.pi * sphere.diameter_mm**2 / 4 / (MM[0] * MM[1])
        expected = 100 * 0.2 / np.sqrt(pixels)
        assert sphere.variability_percent == pytest.approx(expected, rel=0.3)
        assert sphere.contrast_percent is None


@pytest.mark.parametrize("fwhm_mm", [6.0, 12.0])
def test_spheres_that_a_filter_blurs_are_no_noise_of_the_background(
    sharp: np.ndarray, fwhm_mm: float
) -> None:
    sigma = fwhm_mm / np.sqrt(8 * np.log(2))
    found = measure_phantom(gaussian_filter(sharp, [sigma / size for size in MM]), MM)
    assert found.background_mean == pytest.approx(1, abs=1e-3)
    assert found.background_cov < 0.01
    assert max(sphere.variability_percent for sphere in found.spheres) < 0.2


def test_scale_does_not_matter_but_to_the_means(sharp: np.ndarray) -> None:
    blurred = gaussian_filter(sharp, 1.0)
    once, other = (measure_phantom(blurred * np.float32(f), MM, ratio=10) for f in (1, 1000))
    for a, b in zip(once.spheres, other.spheres, strict=True):
        assert b.mean == pytest.approx(1000 * a.mean, rel=1e-5)
        assert b.contrast_percent == pytest.approx(a.contrast_percent, rel=1e-5)
        assert b.earl == a.earl


@pytest.mark.parametrize("version", [1, 2])
def test_earl_verdict_is_that_of_its_bands(sharp: np.ndarray, version: int) -> None:
    """A sphere passes in the middle of a band, and not 10 % above its upper end."""
    blurred = gaussian_filter(sharp, 1.2)
    measured = measure_phantom(blurred, MM).spheres[2]
    means, _ = EARL[version]
    low, high = means[2]
    for target, verdict in (((low + high) / 2, True), (1.1 * high, False)):
        again = measure_phantom(blurred, MM, sphere_activity=measured.mean_a50 / target)
        assert again.spheres[2].recovery_mean == pytest.approx(target)
        assert again.spheres[2].earl[version]["mean"] is verdict


def test_what_is_no_phantom_is_refused() -> None:
    uniform = np.ones((60, 60, 40), dtype=np.float32)
    with pytest.raises(InputRefused, match="six"):
        measure_phantom(uniform, MM)
    with pytest.raises(InputRefused, match="empty"):
        measure_phantom(0 * uniform, MM)


@pytest.mark.real
@pytest.mark.oracle
def test_real_phantom_measures_as_pynemaiqpet_says(test_data: Path, tmp_path: Path) -> None:
    from petdiff.io import read

    analyse = shutil.which("pynemaiqpet_wb_nema_iq") or str(
        Path(__file__).parents[2] / ".venv/pynemaiqpet/bin/pynemaiqpet_wb_nema_iq"
    )
    if not Path(analyse).is_file():
        pytest.skip("pynemaiqpet is not installed")
    source = test_data / "nema_iq" / "pet_recon_1"
    subprocess.run(
        [analyse, source, "--output_dir", tmp_path / "nema"],
        check=True,
        capture_output=True,
        env=os.environ | {"MPLBACKEND": "agg"},
    )
    rows = list(csv.DictReader((tmp_path / "nema" / "fit_results.csv").open()))
    image = read(source, units="bqml", suv_factor=1.0)
    found = measure_phantom(image.suv, image.spacing_mm)
    assert found.background_mean == pytest.approx(float(rows[0]["background_mean"]), rel=0.01)
    assert found.background_cov == pytest.approx(float(rows[0]["background_cov"]), rel=0.01)
    assert found.sphere_activity == pytest.approx(float(rows[0]["signal"]), rel=0.01)
    for sphere, row in zip(found.spheres, rows, strict=True):
        assert sphere.diameter_mm == 2 * float(row["R"])
        assert sphere.mean == pytest.approx(float(row["mean"]), rel=0.01)
        assert sphere.maximum == pytest.approx(float(row["max"]), rel=1e-6)
        assert sphere.mean_a50 == pytest.approx(float(row["mean_a50"]), rel=0.01)
