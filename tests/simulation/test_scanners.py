"""Scanners agree with published figures that are not in their table; sensitivity of exams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from petdiff.errors import UsageError
from petdiff.simulation.scanner.exam import Exam, axial_sensitivity
from petdiff.simulation.scanner.isotopes import F18, GA68
from petdiff.simulation.scanner.scanners import NEMA_LINE_MM, SCANNERS, get_scanner


def line_mean_acceptance(name: str, **change: float) -> float:
    line_mm = np.linspace(-NEMA_LINE_MM / 2, NEMA_LINE_MM / 2, 2001)
    return float(replace(SCANNERS[name], **change).acceptance(line_mm).mean())


def test_geometry_predicts_the_sensitivity_of_scanners_with_the_same_crystals() -> None:
    """Quadra at ring difference 322 against 85 (176 against 83 kcps/MBq, Prenosil 2022), and
    Vision 600 against Quadra (16.4 against 83): the ratio agrees within 10 %."""
    at_85 = line_mean_acceptance("quadra")
    at_322 = line_mean_acceptance("quadra", max_ring_difference_mm=1060)
    assert at_322 / at_85 == pytest.approx(176 / 83, rel=0.1)
    assert line_mean_acceptance("vision600") / at_85 == pytest.approx(16.4 / 83, rel=0.1)


def test_parallax_predicts_the_radial_resolution_off_axis() -> None:
    """Discovery MI, radial FWHM at 10 and 20 cm: 5.47 and 7.53 mm (Hsu 2017), within 10 %."""
    width_mm = get_scanner("discovery-mi").resolution.at([100, 200])
    np.testing.assert_allclose(width_mm, [5.47, 7.53], rtol=0.1)


@pytest.mark.parametrize("name", SCANNERS)
def test_mean_of_the_sensitivity_profile_is_the_nema_sensitivity(name: str) -> None:
    scanner = get_scanner(name)
    line_mm = np.linspace(-350, 350, 20001)
    assert scanner.cps_per_bq(line_mm).mean() == pytest.approx(scanner.nema_cps_per_bq, rel=1e-3)
    assert scanner.cps_per_bq(scanner.axial_field_mm / 2) == 0


def test_timing_resolution_is_converted_to_a_position_uncertainty() -> None:
    # Light travels 300 mm in a nanosecond. A shift by d lengthens one path and shortens the other.
    assert replace(SCANNERS["quadra"], tof_ps=1000).tof_fwhm_mm == pytest.approx(149.9, abs=0.1)


def test_message_for_an_unknown_scanner_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'vision600'"):
        get_scanner("vision-600")


def test_in_one_bed_counts_are_sensitivity_times_time() -> None:
    scanner = get_scanner("quadra")
    stable = replace(F18, half_life_s=1e12)
    z_mm = np.arange(0, 1001, 10.0)
    sensitivity = axial_sensitivity(scanner, z_mm, stable)
    expected = scanner.cps_per_bq(z_mm - 500) * scanner.bed_seconds
    np.testing.assert_allclose(sensitivity.counts_per_bq, expected, rtol=1e-6)
    np.testing.assert_allclose(sensitivity.acceptance, scanner.acceptance(z_mm - 500), rtol=1e-6)


def test_a_body_longer_than_a_long_field_is_scanned_in_the_same_time() -> None:
    scanner = replace(get_scanner("quadra"), axial_field_mm=1000, max_ring_difference_mm=200)
    stable = replace(F18, half_life_s=1e12)
    longer = axial_sensitivity(scanner, np.arange(0, 1201, 10.0), stable).counts_per_bq
    # There are two beds of half the time each. Both measure the middle, as long as one bed would.
    in_one_bed = axial_sensitivity(scanner, np.arange(0, 901, 10.0), stable).counts_per_bq
    assert longer[60] == pytest.approx(in_one_bed[45], rel=1e-6)
    assert longer.min() > 0.3 * longer.max()


def test_beds_overlap_so_that_every_slice_is_measured() -> None:
    scanner = get_scanner("discovery-mi")
    z_mm = np.arange(0, 1000, 3.0)
    sensitivity = axial_sensitivity(scanner, z_mm, F18)
    middle = sensitivity.counts_per_bq[40:-40]
    assert middle.min() > 0.4 * middle.max()
    assert (sensitivity.counts_per_bq > 0).mean() > 0.98


def test_in_continuous_motion_slices_differ_by_decay_only() -> None:
    scanner = get_scanner("vision600")
    z_mm = np.arange(0, 1000, 5.0)
    stable_counts = axial_sensitivity(scanner, z_mm, replace(F18, half_life_s=1e12)).counts_per_bq
    np.testing.assert_allclose(stable_counts, stable_counts[0], rtol=1e-6)
    decaying = axial_sensitivity(scanner, z_mm, GA68).counts_per_bq
    delay_s = 995 * scanner.bed_seconds / scanner.axial_field_mm
    assert decaying[-1] / decaying[0] == pytest.approx(
        0.5 ** (delay_s / GA68.half_life_s), rel=1e-6
    )


def test_counts_in_a_bed_are_those_of_the_decaying_activity() -> None:
    scanner = replace(get_scanner("quadra"), bed_seconds=F18.half_life_s)
    sensitivity = axial_sensitivity(scanner, [0.0], F18)
    # Half of the nuclei decay in one half-life, so the integral of the decay is half a mean life.
    expected = scanner.cps_per_bq(0.0) * F18.half_life_s / np.log(2) / 2
    assert sensitivity.counts_per_bq[0] == pytest.approx(float(expected), rel=1e-6)


def test_suv_one_is_the_remaining_activity_per_body_weight() -> None:
    exam = Exam(injected_bq=200e6, weight_kg=80, uptake_s=F18.half_life_s)
    assert exam.bqml_per_suv() == pytest.approx(200e6 / 2 / 80_000)
