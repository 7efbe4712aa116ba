"""Metrics against closed forms and scikit-image; baselines against problems with a known answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.optimize import minimize_scalar
from scipy.stats import norm, t

from petdiff.evaluation.baselines import (
    best_gaussian,
    best_non_local_means,
    gaussian,
)
from petdiff.evaluation.metrics import compare, coverage, psnr, ssim, ssim_map
from petdiff.units import FWHM_PER_SIGMA
from petdiff.volume.activity import activity_change
from petdiff.volume.noise import noise_level
from petdiff.volume.plane_ranges import plane_ranges
from petdiff.volume.regions import Volume, block_edges, block_sums, body_box, body_mask

MM = (2.0, 2.0, 3.0)


def phantom(noise: float = 0.0, shape: tuple[int, int, int] = (40, 36, 30)) -> Volume:
    """An ellipsoid of SUV 1 with a hot ball of SUV 20, in air."""
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    body = (index**2).sum(0) < 0.6
    hot = ((index - 0.2) ** 2).sum(0) < 0.03
    suv = gaussian_filter(body + 19.0 * hot, 1.0)
    grain = np.random.default_rng(0).normal(size=shape) * np.sqrt(suv + 0.01)
    return np.asarray(suv + noise * grain, dtype=np.float32)


def test_psnr_of_a_known_error() -> None:
    reference = phantom()
    mask = np.ones(reference.shape, dtype=bool)
    off = reference + np.float32(0.1)
    assert psnr(reference, off, 10.0, mask) == pytest.approx(40.0, abs=1e-3)
    assert psnr(reference, reference, 10.0, mask) is None
    assert psnr(0 * reference, off, 0.0, mask) is None


def test_errors_outside_the_mask_do_not_count() -> None:
    reference = phantom()
    off = reference.copy()
    off[0] += 5
    mask = np.ones(reference.shape, dtype=bool)
    mask[0] = False
    assert psnr(reference, off, 10.0, mask) is None
    found = compare(reference, off, mask)
    assert found["nrmse"] == found["nmae"] == 0
    error = 5 / np.sqrt(len(reference)) / reference.mean()
    assert found["nrmse_whole"] == pytest.approx(error, rel=1e-4)


def test_conventions_differ_as_their_definitions_say() -> None:
    reference, test = phantom(), phantom(noise=0.1)
    body = body_mask(reference, MM)
    found = compare(reference, test, body)
    top = float(reference.max())
    assert top > 16
    gap = found["psnr_published_db"] - found["psnr_clip16_db"]
    assert gap == pytest.approx(20 * np.log10(top / 16), abs=1e-4)
    cut = np.clip(test, 0, 16) - np.clip(reference, 0, 16)
    expected = 10 * np.log10(16**2 / np.mean(cut.astype(float) ** 2))
    assert found["psnr_clip16_whole_db"] == pytest.approx(expected, abs=1e-4)
    json.dumps(found, allow_nan=False)


def test_ssim_and_psnr_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    reference, test = phantom(), phantom(noise=0.2)
    similarity = ssim_map(reference, test)
    assert similarity is not None
    _, full = metrics.structural_similarity(reference, test, data_range=16.0, full=True)
    np.testing.assert_allclose(similarity, full, atol=1e-6)
    whole = np.ones(reference.shape, dtype=bool)
    expected = metrics.peak_signal_noise_ratio(reference, test, data_range=7.0)
    assert psnr(reference, test, 7.0, whole) == pytest.approx(expected, abs=1e-3)


def test_ranges_of_planes_together_give_the_definitions() -> None:
    """130 planes, in three ranges, give what the functions give on the whole volume."""
    metrics = pytest.importorskip("skimage.metrics")
    reference, test = (2 * phantom(noise, (24, 20, 130)) for noise in (0.0, 0.3))
    top = float(reference.max())
    body = body_mask(reference, MM) & (reference < 0.9 * top)  # the peak may be outside
    whole = np.ones(reference.shape, dtype=bool)
    found = compare(reference, test, body)
    cut = [np.clip(image, 0, 16) for image in (reference, test)]
    assert (cut[0] != reference).any()
    ssim = metrics.structural_similarity
    similarity = ssim_map(reference, test)
    assert similarity is not None
    expected = {
        "psnr_db": psnr(reference, test, top, body),
        "psnr_whole_db": psnr(reference, test, top, whole),
        "psnr_clip16_db": psnr(cut[0], cut[1], 16.0, body),
        "psnr_published_whole_db": psnr(cut[0], cut[1], top, whole),
        "nrmse": metrics.normalized_root_mse(reference[body], test[body], normalization="mean"),
        "nmae_whole": np.abs(test - reference).mean(dtype=float) / reference.mean(dtype=float),
        "ssim": similarity[body].mean(dtype=np.float64),
        "ssim_whole": ssim(reference, test, data_range=16.0),
        "ssim_published_whole": ssim(*cut, data_range=16.0),
        "activity_change": test[body].sum(dtype=float) / reference[body].sum(dtype=float) - 1,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("planes", [1, 39, 40, 81, 130])
def test_plane_ranges_cover_every_plane_once(planes: int) -> None:
    cut = list(plane_ranges(planes, halo=3))
    written = np.concatenate([np.arange(planes)[part.core] for part in cut])
    np.testing.assert_array_equal(written, np.arange(planes))
    for part in cut:
        read = np.arange(planes)[part.read]
        np.testing.assert_array_equal(read[part.inner], np.arange(planes)[part.core])
        assert len(read) >= min(planes, 40)


def test_scan_equals_itself_and_a_scaled_one_is_off_by_the_scale() -> None:
    reference = phantom()
    body = body_mask(reference, MM)
    same = compare(reference, reference, body)
    assert [same[key] for key in ("psnr_db", "psnr_clip16_whole_db")] == [None, None]
    assert [same[key] for key in ("nrmse", "nmae", "activity_change")] == [0, 0, 0]
    assert same["ssim"] == pytest.approx(1, abs=1e-6)
    louder = compare(reference, reference * np.float32(1.1), body)
    assert louder["activity_change"] == pytest.approx(0.1, abs=1e-6)
    assert louder["nmae"] == pytest.approx(0.1, abs=1e-6)
    inside = reference[body].astype(float)
    cv = np.sqrt(np.mean(inside**2)) / inside.mean()
    assert louder["nrmse"] == pytest.approx(0.1 * cv, rel=1e-5)
    gain = 20 * np.log10(reference.max() / (0.1 * np.sqrt(np.mean(inside**2))))
    assert louder["psnr_db"] == pytest.approx(gain, abs=1e-4)


@pytest.mark.parametrize("mean", [0.0, -0.5])
def test_no_error_is_relative_to_a_mean_that_is_not_above_0(mean: float) -> None:
    reference = np.full((8, 8, 8), mean - 1, dtype=np.float32)
    reference[:4] = mean + 1
    found = compare(reference, reference + np.float32(0.1), reference > 0)
    assert found["nrmse_whole"] is found["nmae_whole"] is None
    assert found["nrmse"] == found["nmae"] == pytest.approx(0.1 / (mean + 1), rel=1e-5)


def test_coverage_is_that_of_gauss_and_of_student() -> None:
    rng = np.random.default_rng(2)
    shape = (40, 40, 40)
    truth, sd = np.zeros(shape, np.float32), rng.uniform(0.5, 2, shape).astype(np.float32)
    error = (sd * rng.normal(size=shape)).astype(np.float32)
    everywhere = np.ones(shape, dtype=bool)
    exact = coverage(truth, error, sd, everywhere)
    eight = coverage(truth, error, sd * np.sqrt(rng.chisquare(7, shape) / 7), everywhere)
    for n in (1, 2):
        assert exact[f"within_{n}_sd"] == pytest.approx(1 - 2 * norm.sf(n), abs=0.005)
        assert eight[f"within_{n}_sd"] == pytest.approx(1 - 2 * t.sf(n, 7), abs=0.005)
    assert coverage(truth, error, sd / 2, everywhere)["error_over_sd"] == pytest.approx(2, rel=0.01)
    assert coverage(truth, error, truth, everywhere)["error_over_sd"] is None


def test_coverage_of_a_mean_of_samples_is_that_of_a_further_sample() -> None:
    """The truth minus the mean of n samples has (1 + 1/n) times the variance of a sample."""
    rng = np.random.default_rng(4)
    truth, *samples = rng.normal(size=(9, 40, 40, 40)).astype(np.float32)
    mean, sd = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1)
    found = coverage(truth, mean, sd, np.ones(truth.shape, dtype=bool))
    for n, expected in ((1, 0.623), (2, 0.899)):
        assert 1 - 2 * t.sf(n / np.sqrt(1 + 1 / 8), 7) == pytest.approx(expected, abs=0.001)
        assert found[f"within_{n}_sd"] == pytest.approx(expected, abs=0.005)


def test_blur_lowers_the_gradient_of_a_wave_by_its_transfer_function() -> None:
    """A Gaussian of width σ multiplies a wave of angular frequency ω by exp(−σ²ω²/2)."""
    sigma, omega = 1.5, 2 * np.pi / 12
    plane = np.arange(96)
    wave = np.broadcast_to(5 + np.sin(omega * plane), (9, 8, 96)).astype(np.float32)
    blurred = gaussian_filter(wave, (0, 0, sigma), mode="wrap", truncate=8)
    body = np.zeros(wave.shape, dtype=bool)
    body[2:7, 2:6, 12:84] = True
    found = compare(wave, blurred, body)["gradient_ratio"]
    assert found == pytest.approx(np.exp(-((sigma * omega) ** 2) / 2), rel=1e-3)


def test_gradient_of_ranges_of_planes_is_that_of_the_whole() -> None:
    reference, test = (phantom(noise, (14, 13, 130)) for noise in (0.1, 0.4))
    body = np.random.default_rng(3).random(reference.shape) < 0.4
    slopes = [
        np.linalg.norm(np.gradient(image.astype(np.float64)), axis=0)[body].sum()
        for image in (reference, test)
    ]
    found = compare(reference, test, body)["gradient_ratio"]
    assert found == pytest.approx(slopes[1] / slopes[0], rel=1e-5)
    assert compare(np.ones_like(test), test, body)["gradient_ratio"] is None


def test_thin_scan_has_no_ssim() -> None:
    flat = np.ones((20, 20, 1), dtype=np.float32)
    assert ssim_map(flat, flat) is None
    assert compare(flat, flat * 2, flat > 0)["ssim"] is None
    assert ssim(flat, flat * 2, flat > 0) is None


def test_ssim_alone_is_that_of_all_metrics() -> None:
    reference, test = (phantom(noise, (40, 36, 100)) for noise in (0.0, 0.2))
    body = reference > 0.5
    assert ssim(reference, test, body) == compare(reference, test, body)["ssim"]
    assert ssim(reference, test, body & False) is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 1), (40, 36, 30), (13, 8, 9)])
def test_blocks_lose_nothing(shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(2).random(shape, dtype=np.float32)
    edges = block_edges(shape, MM, 8.0)
    sums = block_sums(volume, edges)
    assert sums.sum() == pytest.approx(volume.sum(dtype=np.float64), rel=1e-6)
    assert sums[0, 0, 0] == pytest.approx(volume[:4, :4, :3].sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_are_sums_however_voxels_are_stored(
    order: Literal["C", "F"],
) -> None:
    volume = np.random.default_rng(2).random((13, 8, 9), dtype=np.float32)
    edges = [np.array([0, 4, 8, 12]), np.array([0, 4]), np.array([0, 3, 6])]
    sums = block_sums(np.asarray(volume, order=order), edges)
    assert sums.shape == (4, 2, 3)
    expected = volume[4:8, 4:8, 6:9].sum(dtype=np.float64)
    assert sums[1, 1, 2] == pytest.approx(expected, rel=1e-6)
    assert sums[3, 0, 1] == pytest.approx(volume[12:, :4, 3:6].sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_body_is_found_at_any_scale(scale: float) -> None:
    suv = np.float32(scale) * phantom(noise=0.1)
    truth = phantom() > 0.5
    body = body_mask(suv, MM)
    assert (body & truth).sum() > 0.99 * truth.sum()
    assert distance_transform_edt(~truth, sampling=MM)[body].max() < 10


def test_body_is_what_has_an_eighth_of_ordinary_uptake_or_more() -> None:
    suv = np.ones((80, 20, 20), dtype=np.float32)
    suv[50:65], suv[65:] = 0.14, 0.08
    ordinary = (suv.sum() / np.sqrt(suv).sum()) ** 2  # 0.79
    assert 0.08 < 0.12 * ordinary < 0.14
    body = body_mask(suv, MM)
    assert (body[58].all(), body[74].any()) == (True, False)


def test_body_box_leaves_air_out_and_body_in() -> None:
    suv = np.pad(phantom(noise=0.1), ((20, 0), (0, 0), (0, 20)))
    i, j, k = body_box(suv, MM)
    assert 18 <= i.start <= 22
    assert (i.stop, j, k.start) == (60, slice(0, 36), 0)
    assert 28 <= k.stop <= 34


def test_air_alone_has_no_body() -> None:
    air = np.zeros((9, 9, 9), dtype=np.float32)
    assert not body_mask(air, MM).any()
    assert air[body_box(air, MM)].shape == air.shape


def test_activity_change_by_how_hot_a_region_is() -> None:
    before = phantom()
    after = before.copy()
    after[:, :, 15:] *= np.float32(0.9)
    found = activity_change(before, after, MM)
    assert found.relative_change == pytest.approx(after.sum() / before.sum() - 1, abs=1e-5)
    assert all(-0.1 <= (band.relative_change or 0) <= 0 for band in found.by_suv)
    for scan, name in ((before, "mean_suv_before"), (after, "mean_suv_after")):
        summed = sum(getattr(band, name) * band.volume_ml for band in found.by_suv)
        assert summed == pytest.approx(scan.sum(dtype=float) * 0.012, rel=1e-3)  # ml per voxel
    assert sum(band.volume_ml for band in found.by_suv) == pytest.approx(518.4, abs=0.5)
    json.dumps(activity_change(before * 0, after * 0, MM).model_dump(), allow_nan=False)


def test_best_gaussian_finds_the_width_that_undoes_a_sharpening() -> None:
    sharp = phantom()
    reference = gaussian(sharp, MM, 7.0)
    body = body_mask(reference, MM)
    assert best_gaussian(sharp, reference, MM, body).strength == pytest.approx(7.0, abs=0.1)
    assert best_gaussian(sharp, sharp, MM, body).strength == 0


def test_filter_range_by_range_is_scipys() -> None:
    volume = phantom(noise=0.3, shape=(12, 10, 130))
    for fwhm_mm in (0.0, 4.0, 20.0):
        sigma = [fwhm_mm / FWHM_PER_SIGMA / size for size in MM]
        whole = gaussian_filter(volume, sigma, mode="nearest")
        np.testing.assert_array_equal(gaussian(volume, MM, fwhm_mm), whole)


def test_search_around_the_body_finds_what_a_search_in_all_does() -> None:
    rng = np.random.default_rng(4)
    truth = np.pad(phantom(), 30)
    low = (truth + rng.standard_normal(truth.shape)).astype(np.float32)
    body = np.zeros(truth.shape, dtype=bool)
    body[48:58, 44:54, 42:48] = True  # a part of it, with activity all around

    def error(fwhm_mm: float) -> float:
        sigma = [fwhm_mm / FWHM_PER_SIGMA / size for size in MM]
        filtered = gaussian_filter(low, sigma, mode="nearest")
        return float(np.square(filtered[body] - truth[body]).mean(dtype=np.float64))

    whole = minimize_scalar(error, bounds=(0, 20), method="bounded", options={"xatol": 0.05})
    assert best_gaussian(low, truth, MM, body).strength == whole.x


def test_baselines_come_closer_to_the_truth() -> None:
    truth, low = phantom(), phantom(noise=0.3)
    body = body_mask(truth, MM)
    top = float(truth.max())
    for best in (best_gaussian(low, truth, MM, body), best_non_local_means(low, truth, body)):
        assert best.strength > 0
        gained, measured = (psnr(truth, image, top, body) for image in (best.suv, low))
        assert gained is not None
        assert measured is not None
        assert gained > measured


@pytest.mark.real
def test_real_scans_lie_in_the_band_of_real_noise(test_data: Path) -> None:
    import nibabel

    for path in sorted(test_data.glob("sts_fdg/*/PET_image.nii.gz")):
        image = nibabel.load(path)
        suv = image.get_fdata(dtype=np.float32)
        level = noise_level(suv, tuple(float(s) for s in image.header.get_zooms()))
        assert level is not None
        assert 0.01 < level < 0.3, path
