"""Verdicts of an acceptance test: from figures of scans to better, worse, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from petdiff.acceptance.measure import FILTER, FULL, MODEL, Figure, ScanFigures
from petdiff.acceptance.phantom import rows_of
from petdiff.acceptance.suitable import (
    is_phantom,
    noise_warnings,
    refuse_unsuitable,
    require_one_scanner,
)
from petdiff.acceptance.verdict import conclude
from petdiff.errors import InputRefused
from petdiff.image import PETImage

GAINS = [0.4, 0.9, 0.2, 1.1, 0.6, 0.5, 0.3]


def scans(gains: Sequence[float], drf: float = 4.0) -> list[ScanFigures]:
    found = []
    for n, gain in enumerate(gains):
        figures = (
            Figure(drf, FILTER, "psnr_db", "body", 40.0 + n),
            Figure(drf, MODEL, "psnr_db", "body", 40.0 + n + gain),
            Figure(drf, FILTER, "suv_peak_bias", "hot spot 1", -0.2),
            Figure(drf, MODEL, "suv_peak_bias", "hot spot 1", 0.15),
            Figure(drf, MODEL, "suv_peak_bias", "hot spot 2", -0.05),
            Figure(2 * drf, MODEL, "psnr_db", "body", 0.0),
            Figure(2 * drf, FILTER, "psnr_db", "body", 0.0),
        )
        found.append(ScanFigures(name=f"scan {n}", figures=figures))
    return found


@pytest.mark.parametrize(
    ("gains", "judgement"),
    [
        (GAINS, "better"),
        ([-gain for gain in GAINS], "worse"),
        ([0.4, -0.9, 0.2, -1.1, 0.6, 0.5, -0.3], "not told apart"),
        ([0.4, 0.9, 0.2, 1.1, 0.6, 0.5, 0.0, -0.9], "not told apart"),
        (GAINS[:5], "no verdict"),
    ],
)
def test_verdict_follows_the_interval_over_patients(gains: list[float], judgement: str) -> None:
    found = conclude(scans(gains), 4.0)
    assert found.judgement == judgement
    assert found.wins == sum(gain > 0 for gain in gains)
    low, high = stats.t.interval(0.95, len(gains) - 1, loc=np.mean(gains), scale=stats.sem(gains))
    assert (found.psnr_db.low, found.psnr_db.high) == pytest.approx((low, high))
    assert found.peak_error.mean == pytest.approx(-0.1)


def test_dose_without_figures_has_no_verdict() -> None:
    found = conclude(scans(GAINS), 20.0)
    assert (found.judgement, found.psnr_db.n, found.psnr_db.mean) == ("no verdict", 0, None)


def test_scan_of_a_low_dose_among_others_is_named() -> None:
    noise = {"scan 1": 0.05, "scan 2": 0.05, "scan 3": 0.11, "scan 4": 0.2}
    found = noise_warnings({**noise, "scan 5": 0.05})
    assert set(found) == {"scan 3", "scan 4"}
    assert "21 %" in found["scan 3"]
    assert "low dose itself" in found["scan 4"]
    assert "than full-dose scans are" in noise_warnings({"a": 0.09, "b": 0.109, "c": 0.111})["c"]


def test_dicom_that_is_not_corrected_for_attenuation_is_unsuitable() -> None:
    values = np.random.default_rng(0).gamma(9, 1 / 9, (12, 12, 12)).astype(np.float32)
    scan = PETImage(values, np.diag([4.0, 4.0, 4.0, 1.0]), facts={"format": "dicom"})
    with pytest.raises(InputRefused, match="not corrected for attenuation"):
        refuse_unsuitable(scan)
    refuse_unsuitable(replace(scan, facts={"format": "dicom", "corrections": ["DECY", "ATTN"]}))
    refuse_unsuitable(replace(scan, facts={}))


def test_scan_that_is_much_less_noisy_than_the_others_is_named() -> None:
    (problem,) = noise_warnings({"scan 1": 0.05, "scan 2": 0.05, "scan 3": 0.02}).items()
    assert problem == (
        "scan 3",
        "less than half as noisy as the other scans: it seems to be filtered",
    )


def test_scans_of_two_scanners_are_refused_and_unknown_ones_are_not() -> None:
    require_one_scanner({"scan 1": "GE Discovery", "scan 2": "", "scan 3": "GE Discovery"})
    with pytest.raises(InputRefused, match=r"2 scanners \(GE Discovery, Siemens Vision\)"):
        require_one_scanner({"scan 1": "GE Discovery", "scan 2": "Siemens Vision"})


PHANTOM_MM = (4.0, 4.0, 4.0)


def phantom(radius_mm: float) -> np.ndarray:
    """A cylinder with six hot spheres on a circle."""
    i, j, k = (np.indices((64, 64, 24)) * 4.0) - np.array([126, 126, 46]).reshape(3, 1, 1, 1)
    volume = np.where(np.hypot(i, j) < 110, 1.0, 0.0)
    for n, diameter_mm in enumerate((37, 28, 22, 17, 13, 10)):
        x, y = radius_mm * np.cos(n * np.pi / 3), radius_mm * np.sin(n * np.pi / 3)
        inside = (i - x) ** 2 + (j - y) ** 2 + k**2 < (diameter_mm / 2) ** 2
        volume = np.where(inside, 10.0, volume)
    return volume.astype(np.float32)


@pytest.mark.parametrize(("radius_mm", "expected"), [(57.2, True), (75.0, False)])
def test_phantom_is_recognised_by_the_circle_of_its_spheres(
    radius_mm: float, expected: bool
) -> None:
    assert is_phantom(phantom(radius_mm), PHANTOM_MM) is expected


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_phantom_is_recognised_in_slices_of_any_direction(axes: tuple[int, int, int]) -> None:
    affine = np.diag([*PHANTOM_MM, 1.0])[:, [*axes, 3]]
    scan = PETImage(phantom(57.2).transpose(axes), affine)
    with pytest.raises(InputRefused, match="a NEMA phantom, not a patient"):
        refuse_unsuitable(scan)
    (row,) = rows_of(1.0, FULL, scan, activity=10.0)
    assert row.recovery_max == pytest.approx((1.0,) * 6)


def test_hot_walls_around_cold_middles_are_no_phantom() -> None:
    mm = (4.0, 4.0, 4.0)
    i, j, k = np.indices((60, 60, 40)) - np.array([29.5, 29.5, 19.5]).reshape(3, 1, 1, 1)
    volume = np.where(np.hypot(i, j) < 25, 1.0, 0.0)
    away_mm = 4 * np.sqrt(i**2 + j**2 + k**2)  # as from the middle of a ventricle or a necrosis
    volume[away_mm < 40] = 6.0
    volume[away_mm < 30] = 0.1
    assert not is_phantom(volume.astype(np.float32), mm)
    refuse_unsuitable(PETImage(volume.astype(np.float32), np.diag([*mm, 1.0])))
