"""How long a scanner measures each slice of a patient, and its sensitivity there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.simulation.scanner.isotopes import F18, Isotope
from petdiff.simulation.scanner.scanners import Scanner

PAST_THE_END = 0.1  # of the axial field; how far beds reach beyond the ends


@dataclass(frozen=True)
class Exam:
    """Injected activity, body weight and time from injection to scan; SUV is by body weight."""

    injected_bq: float
    weight_kg: float
    uptake_s: float
    isotope: Isotope = F18

    def bqml_per_suv(self) -> float:
        """Return the activity concentration in Bq/ml of SUV 1 at the start of the scan."""
        left = float(self.isotope.left(self.uptake_s))
        return self.injected_bq * left / (self.weight_kg * 1000)


@dataclass(frozen=True)
class Coverage:
    """Counts per Bq in air, and sine of the largest obliquity, for each slice of a whole scan.

    Counts are decay-corrected to the start of the scan, like SUV: activity that has decayed before
    its bed is reached gives fewer counts.
    """

    counts_per_bq: NDArray[np.float64]
    acceptance: NDArray[np.float64]

    def part(self, start: int, stop: int) -> Coverage:
        """Return the slices from start to stop."""
        return Coverage(self.counts_per_bq[start:stop], self.acceptance[start:stop])


def coverage(scanner: Scanner, z_mm: ArrayLike, isotope: Isotope) -> Coverage:
    """Return the coverage of the slices at z_mm, from the feet to the head.

    If the slices fit into the field, there is one bed. Otherwise beds are evenly spaced, overlap by
    at least the scanner's share, and reach beyond the ends, where sensitivity is low. A scanner
    made for a single bed divides its time among the beds that a longer body needs.
    """
    z = np.asarray(z_mm, float)
    if scanner.motion == "continuous":
        return _continuous(scanner, z, isotope)
    counts, oblique = np.zeros_like(z), np.zeros_like(z)
    centres_mm = _bed_centres(scanner, z)
    seconds = scanner.bed_seconds / (len(centres_mm) if scanner.motion == "single" else 1)
    for number, centre_mm in enumerate(centres_mm):
        offset_mm = z - centre_mm
        lived_s = _decayed_seconds(isotope, number * seconds, (number + 1) * seconds)
        collected = scanner.cps_per_bq(offset_mm) * lived_s
        counts += collected
        oblique += collected * scanner.acceptance(offset_mm)
    return _of_isotope(counts, oblique, isotope)


def _bed_centres(scanner: Scanner, z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    field_mm = scanner.axial_field_mm
    step_mm = field_mm * (1 - scanner.overlap)
    surplus_mm = float(np.ptp(z_mm)) - field_mm
    beds = 1 + max(0, int(np.ceil(surplus_mm / step_mm)))
    pitch_mm = min(step_mm, (surplus_mm + 2 * PAST_THE_END * field_mm) / max(beds - 1, 1))
    middle_mm = (z_mm.min() + z_mm.max()) / 2
    centres_mm: NDArray[np.float64] = middle_mm + (np.arange(beds) - (beds - 1) / 2) * pitch_mm
    return centres_mm


def _continuous(scanner: Scanner, z_mm: NDArray[np.float64], isotope: Isotope) -> Coverage:
    field_mm = scanner.axial_field_mm
    offsets = np.linspace(-field_mm / 2, field_mm / 2, 2001)
    seconds_per_mm = scanner.bed_seconds / field_mm
    start_s = (z_mm - z_mm.min()) * seconds_per_mm
    lived_s = _decayed_seconds(isotope, start_s, start_s + scanner.bed_seconds)
    rate = scanner.cps_per_bq(offsets)
    counts = rate.mean() * lived_s
    mean_acceptance = float((rate * scanner.acceptance(offsets)).sum() / rate.sum())
    return _of_isotope(counts, counts * mean_acceptance, isotope)


def _of_isotope(
    counts: NDArray[np.float64], oblique: NDArray[np.float64], isotope: Isotope
) -> Coverage:
    # NEMA sensitivity is per Bq of 18F.
    share = isotope.positron_share / F18.positron_share
    return Coverage(counts * share, oblique / np.maximum(counts, 1e-30))


def _decayed_seconds(isotope: Isotope, start_s: ArrayLike, end_s: ArrayLike) -> NDArray[np.float64]:
    """Return ∫ exp(-λt) dt between two times since the start of the scan."""
    mean_life_s = isotope.half_life_s / np.log(2)
    lived: NDArray[np.float64] = mean_life_s * (isotope.left(start_s) - isotope.left(end_s))
    return lived
