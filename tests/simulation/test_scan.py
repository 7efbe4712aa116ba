"""Scans of small bodies are quantitative and reproducible; impossible scans are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from petdiff.errors import InputRefused, UsageError
from petdiff.simulation.scanner import scan as scan_module
from petdiff.simulation.scanner.exam import Exam, axial_sensitivity
from petdiff.simulation.scanner.isotopes import F18, GA68
from petdiff.simulation.scanner.scan import Scan, scan
from petdiff.simulation.scanner.scanners import SCANNERS, get_scanner

VOXEL_MM = (6.0, 6.0, 6.0)
EXAM = Exam(injected_bq=250e6, weight_kg=75, uptake_s=3600)


def body(n_slices: int = 12, lesion_at: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return SUV and mu [i, j, k] of a warm cylinder of water, SUV 2, perhaps with a hot lesion."""
    x = (np.arange(32) - 15.5) * VOXEL_MM[0]
    inside = np.hypot(x[:, None], x) < 85
    suv = np.repeat(2.0 * inside[..., None], n_slices, axis=2).astype(np.float32)
    mu = (0.048 * suv).astype(np.float32)
    if lesion_at is not None:
        suv[18:20, 14:16, lesion_at : lesion_at + 2] = 12
    return suv, mu


def scanned(
    suv: np.ndarray,
    mu: np.ndarray,
    name: str = "vision600",
    dose_factors: Sequence[float] = (4,),
    seed: int = 0,
    threads: int = 1,
) -> Scan:
    return scan(
        suv,
        mu,
        VOXEL_MM,
        get_scanner(name),
        EXAM,
        dose_factors=dose_factors,
        seed=seed,
        threads=threads,
    )


@pytest.mark.parametrize("name", SCANNERS)
def test_suv_is_unbiased_at_every_dose(name: str) -> None:
    suv, mu = body()
    images = scanned(suv, mu, name, dose_factors=(4, 10))
    inside = np.hypot(*np.ogrid[-15.5:16.5, -15.5:16.5]) * VOXEL_MM[0] < 65
    for image in (images.full, *images.lows.values()):
        # At the ends of the stack most scanners measure few counts, and the filter includes air.
        assert image[inside][:, 3:-3].mean() == pytest.approx(2.0, rel=0.01)


def test_prompts_are_activity_times_sensitivity_times_time() -> None:
    suv, mu = body()
    scanner = replace(get_scanner("quadra"), scatter_fraction=0.0, randoms_fraction=0.0)
    images = scan(suv, 0 * mu, VOXEL_MM, scanner, EXAM, dose_factors=[], seed=0)
    sensitivity = axial_sensitivity(scanner, np.arange(suv.shape[2]) * VOXEL_MM[2], F18)
    slice_bq = suv.sum(axis=(0, 1)) * EXAM.bqml_per_suv() * np.prod(VOXEL_MM) / 1000
    assert images.prompts == pytest.approx((slice_bq * sensitivity.counts_per_bq).sum(), rel=0.005)


def test_same_seed_gives_same_bytes_with_any_number_of_threads() -> None:
    suv, mu = body(8)
    first = scanned(suv, mu, seed=3)
    second = scanned(suv, mu, seed=3, threads=2)
    other = scanned(suv, mu, seed=4)
    assert first.full.tobytes() == second.full.tobytes()
    assert first.lows[4].tobytes() == second.lows[4].tobytes()
    assert np.abs(first.full - other.full).max() > 0.01


def test_images_do_not_depend_on_the_division_into_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    suv, mu = body(16)
    whole = scanned(suv, mu).full
    monkeypatch.setattr(scan_module, "LONGEST_STACK", 6)
    in_stacks = scanned(suv, mu).full
    noise = whole[10:22, 10:22].std()
    assert np.abs(in_stacks - whole)[10:22, 10:22].max() < 0.02 * noise


def test_a_later_part_of_a_longer_scan_has_decayed() -> None:
    suv, mu = body(12)
    scanner = get_scanner("vision600")
    sensitivity = axial_sensitivity(scanner, np.arange(40) * VOXEL_MM[2], F18)
    parts = [
        scan(suv, mu, VOXEL_MM, scanner, EXAM, dose_factors=[], seed=0, sensitivity=part)
        for part in (sensitivity.part(0, 12), sensitivity.part(20, 32))
    ]
    delay_s = 20 * VOXEL_MM[2] * scanner.bed_seconds / scanner.axial_field_mm
    decayed = parts[1].prompts / parts[0].prompts
    assert decayed == pytest.approx(0.5 ** (delay_s / F18.half_life_s), rel=0.003)


def test_noise_grows_with_the_square_root_of_the_dose_factor() -> None:
    suv, mu = body()
    images = scanned(suv, mu, dose_factors=(4, 16))
    inner = (slice(10, 22), slice(10, 22), slice(3, 9))
    noise = [image[inner].std() for image in (images.full, images.lows[4], images.lows[16])]
    assert noise[1] / noise[0] == pytest.approx(2, rel=0.15)
    assert noise[2] / noise[0] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("name", ["vision600", "discovery-mi", "mct-flow"])
def test_full_dose_noise_in_the_liver_is_as_in_clinical_scans(name: str) -> None:
    """A body of 70 kg (34 × 22 cm, SUV 0.7) with 3.3 MBq/kg, one hour after injection: the liver's
    coefficient of variation is 8 to 13 % in clinical scans."""
    scanner = get_scanner(name)
    x = (np.arange(int(380 / scanner.voxel_mm[0])) * scanner.voxel_mm[0] - 190)[:, None, None]
    y = (np.arange(int(260 / scanner.voxel_mm[0])) * scanner.voxel_mm[0] - 130)[:, None]
    depth = np.zeros((1, 1, 9))
    torso = ((x / 170) ** 2 + (y / 110) ** 2 + depth < 1).astype(np.float32)
    liver = ((x - 60) / 80) ** 2 + ((y - 10) / 75) ** 2 + depth < 1
    suv = np.where(liver, 2.2, 0.7 * torso).astype(np.float32)
    exam = Exam(injected_bq=231e6, weight_kg=70, uptake_s=3900)
    image = scan(suv, 0.096 * torso, scanner.voxel_mm, scanner, exam, dose_factors=[], seed=0).full
    inner = ((x - 60) / 55) ** 2 + ((y - 10) / 50) ** 2 + depth < 1
    values = image[..., 3:6][inner[..., 3:6]]
    assert 0.08 < values.std() / values.mean() < 0.13


def test_the_same_scan_without_the_lesion_differs_only_near_it() -> None:
    suv, mu = body(18, lesion_at=8)
    with_it = scanned(suv, mu).full
    without = scanned(*body(18)).full
    changed = np.flatnonzero(np.abs(with_it - without).max(axis=(0, 1)) > 1e-3)
    assert changed.size
    assert changed.min() >= 4
    assert changed.max() <= 13


def test_gallium_gives_fewer_counts_and_more_blur_than_fluorine() -> None:
    suv, mu = body(16, lesion_at=7)
    results = []
    for isotope in (F18, GA68):
        exam = replace(EXAM, isotope=isotope, injected_bq=1e12, uptake_s=0)
        results.append(
            scan(suv, mu, VOXEL_MM, get_scanner("quadra"), exam, dose_factors=[], seed=0)
        )
    assert results[1].prompts < 0.95 * results[0].prompts
    assert results[1].full[18, 14, 7] < 0.97 * results[0].full[18, 14, 7]


def test_torch_and_scipy_reconstruct_the_same_images() -> None:
    pytest.importorskip("torch")
    suv, mu = body(4)
    scanner = get_scanner("vision600")
    ours, theirs = (
        scan(suv, mu, VOXEL_MM, scanner, EXAM, dose_factors=[4], seed=0, device=device)
        for device in (None, "cpu")
    )
    assert theirs.prompts == ours.prompts
    np.testing.assert_allclose(theirs.lows[4], ours.lows[4], rtol=2e-3, atol=1e-3)


def test_progress_counts_slices() -> None:
    suv, mu = body(10)
    calls: list[tuple[int, int]] = []
    scan(
        suv,
        mu,
        VOXEL_MM,
        get_scanner("quadra"),
        EXAM,
        dose_factors=[],
        seed=0,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (10, 10)


@pytest.mark.parametrize("factor", [1.0, 0.0, -4.0])
def test_a_dose_factor_of_one_or_less_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="above 1"):
        scanned(*body(), dose_factors=[factor])


def test_pixels_that_are_not_square_are_refused() -> None:
    suv, mu = body()
    with pytest.raises(UsageError, match="square"):
        scan(suv, mu, (5, 4, 5), get_scanner("quadra"), EXAM, dose_factors=[], seed=0)


def test_a_body_wider_than_the_bore_is_refused() -> None:
    wide = np.ones((160, 40, 2), np.float32)
    with pytest.raises(InputRefused, match="wide"):
        scanned(wide, 0 * wide)


def test_an_empty_scan_is_refused() -> None:
    zeros = np.zeros((20, 20, 4), np.float32)
    with pytest.raises(InputRefused, match="no activity"):
        scanned(zeros, zeros)
