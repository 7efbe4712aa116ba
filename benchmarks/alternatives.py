"""Compare flow3d with other filters on simulated patients: PSNR and processor seconds.

    OMP_NUM_THREADS=1 python benchmarks/alternatives.py [--count 6] [--voxel-size 6]

Patients are drawn by a seed each, which no training draws; scanner and tracer are drawn in turn.
Every scan is denoised by a Gaussian filter, by non-local means, by BM4D (if the package bm4d is
installed: pip install bm4d, whose licence allows non-commercial use alone) and by flow3d, which is
not given the dose. The filters have the strength that comes closest to the full-dose scan, which no
user can know; the seconds of Gaussian and non-local means include the search for it. BM4D is shown
at each strength as well, with the mean over the scans. It filters the root of SUV, as non-local
means do, at multiples of its measured noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import petdiff
from petdiff.evaluation.baselines import best_gaussian, best_non_local_means, root_and_noise
from petdiff.evaluation.metrics import psnr
from petdiff.simulation.study import simulate
from petdiff.volume.regions import Volume, body_mask

FIRST_SEED = 892_000
SCANNERS = ("mct-flow", "quadra", "vision600", "uexplorer", "discovery-mi")
TRACERS = ("fdg", "psma", "dotatate", "fapi")
NON_LOCAL_MEANS = (0.8, 1.2, 1.8, 2.7, 4.0)
BM4D = (0.8, 1.2, 1.8, 2.7)  # strengths, over the noise


class Outcome(NamedTuple):
    """PSNR in dB of a result, and the seconds of the processor that it took."""

    psnr_db: float
    seconds: float


def outcomes(full: Volume, low: petdiff.PETImage) -> dict[str, Outcome]:
    """Return the outcome of each filter on one scan."""
    body, peak = body_mask(full, low.spacing_mm), float(full.max())

    def outcome(work: Callable[[], Volume]) -> Outcome:
        start = time.process_time()
        result = work()
        return Outcome(psnr(full, result, peak, body), time.process_time() - start)

    found = {
        "measured": outcome(lambda: low.suv),
        "Gaussian": outcome(lambda: best_gaussian(low.suv, full, low.spacing_mm, body).suv),
        "non-local means": outcome(
            lambda: best_non_local_means(low.suv, full, body, NON_LOCAL_MEANS).suv
        ),
        "flow3d": outcome(lambda: petdiff.denoise(low).image.suv),
    }
    try:
        from bm4d import bm4d
    except ImportError:
        return found
    root, noise = root_and_noise(low.suv, body)

    def filtered(strength: float) -> Volume:
        return np.square(bm4d(root, strength * noise)).astype(np.float32)

    return found | {
        f"BM4D at {strength:g}": outcome(lambda s=strength: filtered(s))  # type: ignore[misc]
        for strength in BM4D
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=6, help="patients")
    parser.add_argument("--first", type=int, default=0, help="number of the first patient")
    parser.add_argument("--voxel-size", type=float, default=6.0)
    parser.add_argument("--doses", type=float, nargs="+", default=(4, 20))
    options = parser.parse_args()
    rows: list[dict[str, Outcome]] = []
    for number in range(options.first, options.first + options.count):
        scanner, tracer = SCANNERS[number % 5], TRACERS[number % 4]
        scans = simulate(
            FIRST_SEED + number, scanner=scanner, tracer=tracer, extent="abdomen",
            voxel_mm=options.voxel_size, dose_factors=options.doses,
        )  # fmt: skip
        for drf, low in scans.lows.items():
            row = outcomes(scans.full.suv, low)
            if not rows:
                print(f"| scan | {' | '.join(row)} |\n|{'---|' * (len(row) + 1)}")
            rows.append(row)
            cells = " | ".join(f"{one.psnr_db:.2f}" for one in row.values())
            what = ", ".join((scanner, tracer, *scans.patient.variants, f"1/{drf:g}"))
            print(f"| {what} | {cells} |", flush=True)
    print_means(rows)


def print_means(rows: list[dict[str, Outcome]]) -> None:
    """Print mean PSNR and seconds of each filter, and how often flow3d is better."""
    for name in rows[0]:
        levels, seconds = np.array([row[name] for row in rows]).T
        print_mean(name, rows, levels, f"{seconds.mean():.1f} s")
    bm4d = np.array([[row[n].psnr_db for n in row if n.startswith("BM4D")] for row in rows])
    if bm4d.size:
        print_mean("BM4D at its best strength for each scan", rows, bm4d.max(axis=1), "")


def print_mean(name: str, rows: list[dict[str, Outcome]], levels: np.ndarray, seconds: str) -> None:
    better = sum(row["flow3d"].psnr_db > level for row, level in zip(rows, levels, strict=True))
    print(f"{name}: {levels.mean():.2f} dB, {seconds}; flow3d is better in {better} of {len(rows)}")


if __name__ == "__main__":
    main()
