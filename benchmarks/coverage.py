"""How often calibrated intervals hold, and how wide they are: tables of calibrate.py's patients.

python benchmarks/coverage.py OUT

Brackets hold 95 % intervals of the mean over patients, by bootstrap: errors of one patient are not
independent of each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from calibrate import (
    CALIBRATED,
    DOSES,
    SCANNERS,
    TRACERS,
    Chosen,
    Held,
    Patient,
    Role,
    calibrate,
    held,
    read_patients,
)
from numpy.typing import NDArray

from petdiff.uncertainty.calibration.fit import PatientErrors
from petdiff.uncertainty.calibration.record import FigureCalibration

Figures = Sequence[FigureCalibration]
SCANS = ("denoised", "gaussian", "measured")


def name(one: FigureCalibration) -> str:
    region = one.region or ("all voxels" if one.figure == "voxel" else "any region")
    return f"{one.figure.replace('voxel', 'SUV')}, {region}"


def with_interval(rows: Sequence[Held]) -> str:
    """Return the mean share in percent, its interval over patients, and their number."""
    if not rows:
        return ""
    shares = np.array([100 * row.share for row in rows])
    draws = np.random.default_rng(0).choice(shares, (2000, shares.size))
    low, high = np.quantile(draws.mean(axis=1), [0.025, 0.975])
    return f"{shares.mean():.1f} ({low:.0f}…{high:.0f}), {shares.size}"


def line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def header(first: str, columns: Sequence[str]) -> None:
    print("\n" + line(first, columns))
    print("|---" * (len(columns) + 1) + "|")


def at(fact: str, value: str) -> Chosen:
    def chosen(errors: PatientErrors) -> NDArray[np.bool_]:
        return np.asarray(errors.facts[fact] == value)

    return chosen


def by_dose(
    patients: Sequence[Patient], figures: Figures, role: Role, *, dose_known: bool = False
) -> None:
    title = f"90 % intervals that hold, %, {role}{', dose known' if dose_known else ''}"
    header(title, ["all", *(f"1/{dose}" for dose in DOSES)])
    for one in figures:
        cells = [with_interval(held(patients, one, 0.9, role, dose_known=dose_known))]
        for dose in DOSES:
            rows = held(
                patients, one, 0.9, role, chosen=at("drf", f"{dose}"), dose_known=dose_known
            )
            cells.append(with_interval(rows))
        print(line(name(one), cells))


def by_group(patients: Sequence[Patient], figures: Figures) -> None:
    groups = [*(("scanner", s) for s in SCANNERS), *(("tracer", t) for t in TRACERS)]
    dose = [("dose", "known"), ("dose", "unknown")]
    header("90 % intervals that hold, %", [value for _, value in (*groups, *dose)])
    for one in figures:
        cells = [
            with_interval(held(patients, one, 0.9, "testing", chosen=at(fact, value)))
            for fact, value in (*groups, *dose)
        ]
        print(line(name(one), cells))


def reliability(patients: Sequence[Patient], figures: Figures) -> None:
    levels = (0.5, 0.8, 0.9, 0.95, 0.99)
    header("Intervals that hold, %, at", [f"{100 * level:g} %" for level in levels])
    for one in figures:
        cells = [
            with_interval(held(patients, one, level, "testing"))
            if f"{level:g}" in one.groups[0].bounds
            else "too few patients"
            for level in levels
        ]
        print(line(name(one), cells))


def sharpness(patients: Sequence[Patient]) -> None:
    """Print mean widths of 90 % intervals about each kind of scan, calibrated in the same way."""
    header("Width of 90 % intervals (coverage, %)", SCANS)
    for which in CALIBRATED:
        cells = []
        for scan in SCANS:
            one = calibrate(patients, *which, scan)
            if one is None or "0.9" not in one.groups[0].bounds:
                cells.append("")
                continue
            rows = held(patients, one, 0.9, "testing", scan)
            width, share = np.mean([r.width for r in rows]), np.mean([r.share for r in rows])
            cells.append(f"{width:.3f} ({100 * share:.1f})")
        figure, region = which
        print(line(f"{figure}, {region or 'all'}", cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    patients = read_patients(parser.parse_args().out)
    every = [calibrate(patients, *which) for which in CALIBRATED]
    figures = [one for one in every if one is not None and "0.9" in one.groups[0].bounds]
    for one in figures:
        everyone = one.groups[0]
        low, high = everyone.bounds["0.9"]
        used = ", ".join(f"{value:.3g} {n}" for n, value in one.scale.coefficients.items())
        print(
            f"{name(one)}: {everyone.patients} patients, {one.errors} errors, toward measured "
            f"{one.toward_measured:g}, 90 % from {low:.2f} to {high:.2f} times {used}"
        )
    by_dose(patients, figures, "testing")
    by_dose(patients, figures, "unseen")
    by_dose(patients, figures, "testing", dose_known=True)
    by_dose(patients, figures, "unseen", dose_known=True)
    by_group(patients, figures)
    reliability(patients, figures)
    sharpness(patients)


if __name__ == "__main__":
    main()
