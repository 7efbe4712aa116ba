"""How often the intervals of `petdiff measure` hold where regions are found, not known.

python benchmarks/measure.py OUT --count 24 --minutes 40

Simulated patients whose seeds neither training nor calibration drew are scanned at full and at low
dose and denoised. Regions are balls about the foci of the denoised scan (`--lesions auto`), with
their own intervals and with those of lesions, about the true lesions, and at random places. An
interval holds if the figure of the full-dose scan in this region lies within it. Each patient
counts once. OUT has a file per patient, and those that exist are kept.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

import petdiff
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.measurement.figures import region_figures
from petdiff.measurement.foci import find_lesions
from petdiff.measurement.region import Region, ball_region
from petdiff.simulation.study import Simulation
from petdiff.volume.regions import body_mask

FIRST_SEED = 650_000
SCANNERS = ("quadra", "uexplorer", "vision600", "discovery-mi")
TRACERS = ("fdg", "psma", "dotatate", "fapi")
EXTENTS = ("abdomen", "thorax", "pelvis", "head-neck")
DOSES = (4, 20, 100)
LEVELS = (0.5, 0.9)
SPHERES, RADIUS_MM = 8, 10.0
COLUMNS = ("patient", "tracer", "drf", "dose", "regions", "figure", "level", "held", "width", "n")
Row = tuple[object, ...]


def measure_patient(index: int) -> Iterator[Row]:
    """Yield the shares of intervals that hold for one patient."""
    tracer = TRACERS[index // 4 % 4]
    scans = petdiff.simulate(
        FIRST_SEED + index,
        scanner=SCANNERS[index % 4],
        tracer=tracer,
        extent=EXTENTS[(index // 16 + index) % 4],
        voxel_mm=(4, 5, 6)[index % 3],
        dose_factors=DOSES,
    )
    calibration = petdiff.calibration_of("flow3d")
    for drf, low in scans.lows.items():
        known = bool((index + int(drf)) % 2)
        denoised = petdiff.denoise(low, drf=drf if known else None).image
        for kind, regions in regions_of(scans, denoised, index):
            for level in LEVELS:
                found = petdiff.measure(
                    low, denoised, regions, calibration=calibration, level=level,
                    drf=drf if known else None,
                )  # fmt: skip
                for figure, held, width, n in shares(regions, found, scans.full):
                    dose = "given" if known else "not given"
                    yield index, tracer, drf, dose, kind, figure, level, held, width, n


def regions_of(
    scans: Simulation, denoised: PETImage, index: int
) -> Iterator[tuple[str, list[Region]]]:
    """Yield foci of the denoised scan, true lesions and spheres, if there are any."""
    with suppress(InputRefused):
        foci = find_lesions(denoised)
        yield "foci", foci
        yield "foci as lesions", [replace(one, kind="lesion") for one in foci]
    rng = np.random.default_rng(index)
    inside = np.argwhere(body_mask(scans.full.suv, scans.full.spacing_mm))
    places = [(denoised.affine @ [*at, 1.0])[:3] for at in rng.choice(inside, SPHERES)]
    balls = {
        "lesions": [(one.centre_mm, one.radius_mm, "lesion") for one in scans.patient.lesions],
        "spheres": [(tuple(at.tolist()), RADIUS_MM, "sphere") for at in places],
    }
    for name, wanted in balls.items():
        found = []
        for centre, radius, kind in wanted:
            try:
                found.append(ball_region(centre, radius, denoised, kind=kind))  # type: ignore[arg-type]
            except InputRefused:  # outside the field of view, or smaller than a voxel
                continue
        if found:
            yield name, found


def shares(
    regions: list[Region], found: petdiff.Measurement, full: PETImage
) -> Iterator[tuple[str, float, float, int]]:
    """Yield figure, share of intervals that hold, mean width over the figure, and their number."""
    truths = [region_figures(one, full.values, full.spacing_mm) for one in regions]
    for figure in ("mean", "max", "peak", "mtv_41"):
        held, widths = [], []
        for row, truth in zip(found.regions, truths, strict=True):
            one, value = row.figure(figure), truth[figure]
            if one.lower is None or one.upper is None or value is None or not one.denoised:
                continue
            held.append(one.lower <= value <= one.upper)
            widths.append((one.upper - one.lower) / abs(one.denoised))
        if held:
            yield figure, float(np.mean(held)), float(np.mean(widths)), len(held)


def summary(rows: list[dict[str, str]]) -> None:
    """Print coverage: the mean over patients, its 95 % interval (bootstrap), and their number."""
    rng = np.random.default_rng(0)
    keys = sorted({(r["regions"], r["figure"], r["level"]) for r in rows})
    for key in keys:
        for drf in ("all", *sorted({r["drf"] for r in rows}, key=float)):
            mine = [
                r for r in rows
                if (r["regions"], r["figure"], r["level"]) == key and drf in ("all", r["drf"])
            ]  # fmt: skip
            by_patient: dict[str, list[float]] = {}
            for row in mine:
                by_patient.setdefault(row["patient"], []).append(float(row["held"]))
            means = np.array([np.mean(held) for held in by_patient.values()])
            drawn = rng.choice(means, (2000, means.size)).mean(axis=1)
            low, high = np.quantile(drawn, (0.025, 0.975))
            width = np.mean([float(r["width"]) for r in mine])
            count = sum(int(r["n"]) for r in mine)
            print(
                f"{key[0]:15} {key[1]:7} {key[2]:4} drf {drf:6} held {100 * means.mean():5.1f} "
                f"({100 * low:.0f} to {100 * high:.0f}), {means.size} patients, {count} figures, "
                f"width {100 * width:.0f} % of the figure"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=1e9)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    stop = time.monotonic() + 60 * asked.minutes
    for index in range(asked.count):
        path = asked.out / f"{index:03d}.csv"
        if path.exists() or time.monotonic() > stop:
            continue
        made = [dict(zip(COLUMNS, map(str, row), strict=True)) for row in measure_patient(index)]
        with path.with_suffix(".part").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(made)
        path.with_suffix(".part").rename(path)
    rows = []
    for path in sorted(asked.out.glob("[0-9]*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    summary(rows)


if __name__ == "__main__":
    main()
