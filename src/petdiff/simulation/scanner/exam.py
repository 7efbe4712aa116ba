"""The exam of a patient, and the sensitivity and duration with which each slice is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.simulation.scanner.isotopes import F18, Isotope
from petdiff.simulation.scanner.scanners import Scanner

OVERHANG = 0.1  # largest overhang of the outer beds beyond the slices, relative to the axial field


@dataclass(frozen=True)
class Exam:
    """Injected activity, body weight and time from injection to scan; SUV is by body weight."""

    injected_bq: float
    weight_kg: float
    uptake_s: float
    isotope: Isotope = F18

    def bqml_per_suv(self) -> float:
        """Return the activity concentration in Bq/ml of SUV 1 at the start of the scan."""
        remaining = float(self.isotope.remaining(self.uptake_s))
        return self.injected_bq * remaining / (self.weight_kg * 1000)


@dataclass(frozen=True)
class AxialSensitivity:
    """Counts per Bq in air, and sine of the largest obliquity, for each slice of a whole scan.

    The activity is that at the start of the scan, as for SUV. Activity that decays before its slice
    is measured therefore gives fewer counts.
    """

    counts_per_bq: NDArray[np.float64]
    acceptance: NDArray[np.float64]

    def part(self, start: int, stop: int) -> AxialSensitivity:
        """Return the slices from start to stop."""
        return AxialSensitivity(self.counts_per_bq[start:stop], self.acceptance[start:stop])


def axial_sensitivity(scanner: Scanner, z_mm: ArrayLike, isotope: Isotope) -> AxialSensitivity:
    """Return the sensitivity at the slices z_mm, from the feet to the head.

    If the slices fit into the field, there is one bed. Otherwise the beds are evenly spaced and
    overlap by at least the scanner's `overlap`. The outer beds reach beyond the ends of the slices,
    because sensitivity is low at the ends of the field. A scanner made for a single bed divides
    its time among the beds that a longer body needs.
    """
    z = np.asarray(z_mm, float)
    if scanner.motion == "continuous":
        return _continuous(scanner, z, isotope)
    counts, weighted_acceptance = np.zeros_like(z), np.zeros_like(z)
    centres_mm = _bed_centres(scanner, z)
    seconds = scanner.bed_seconds / (len(centres_mm) if scanner.motion == "single" else 1)
    for number, centre_mm in enumerate(centres_mm):
        offset_mm = z - centre_mm
        effective_s = _decay_weighted_seconds(isotope, number * seconds, (number + 1) * seconds)
        bed_counts = scanner.cps_per_bq(offset_mm) * effective_s
        counts += bed_counts
        weighted_acceptance += bed_counts * scanner.acceptance(offset_mm)
    return _for_isotope(counts, weighted_acceptance, isotope)


def _bed_centres(scanner: Scanner, z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    field_mm = scanner.axial_field_mm
    step_mm = field_mm * (1 - scanner.overlap)
    surplus_mm = float(np.ptp(z_mm)) - field_mm
    beds = 1 + max(0, int(np.ceil(surplus_mm / step_mm)))
    pitch_mm = min(step_mm, (surplus_mm + 2 * OVERHANG * field_mm) / max(beds - 1, 1))
    middle_mm = (z_mm.min() + z_mm.max()) / 2
    centres_mm: NDArray[np.float64] = middle_mm + (np.arange(beds) - (beds - 1) / 2) * pitch_mm
    return centres_mm


def _continuous(scanner: Scanner, z_mm: NDArray[np.float64], isotope: Isotope) -> AxialSensitivity:
    field_mm = scanner.axial_field_mm
    offsets = np.linspace(-field_mm / 2, field_mm / 2, 2001)
    seconds_per_mm = scanner.bed_seconds / field_mm
    start_s = (z_mm - z_mm.min()) * seconds_per_mm
    effective_s = _decay_weighted_seconds(isotope, start_s, start_s + scanner.bed_seconds)
    rate = scanner.cps_per_bq(offsets)
    counts = rate.mean() * effective_s
    mean_acceptance = float((rate * scanner.acceptance(offsets)).sum() / rate.sum())
    return _for_isotope(counts, counts * mean_acceptance, isotope)


def _for_isotope(
    counts: NDArray[np.float64], weighted_acceptance: NDArray[np.float64], isotope: Isotope
) -> AxialSensitivity:
    # NEMA sensitivity is given per Bq of 18F.
    relative = isotope.positron_fraction / F18.positron_fraction
    return AxialSensitivity(counts * relative, weighted_acceptance / np.maximum(counts, 1e-30))


def _decay_weighted_seconds(
    isotope: Isotope, start_s: ArrayLike, end_s: ArrayLike
) -> NDArray[np.float64]:
    """Return ∫ exp(-λt) dt in s between two times since the start of the scan."""
    mean_life_s = isotope.half_life_s / np.log(2)
    effective_s: NDArray[np.float64] = mean_life_s * (
        isotope.remaining(start_s) - isotope.remaining(end_s)
    )
    return effective_s
