"""Verdicts of an acceptance test against those that truly thinned counts would have given.

    python benchmarks/acceptance.py CACHE OUT.json [--sites N] [--patients N] [--simulate-only]

A site is a scanner, a tracer and patients of its own (abdomen, 6 mm), scanned at full dose and,
with a part of the same counts, at 1/2, 1/4 and 1/20. Each dose is judged twice as `petdiff accept`
judges it, the default model against the best Gaussian: on scans that `petdiff.thin` made from the
full-dose ones, and on the true low-dose ones. Simulated scans are kept in CACHE, figures in
OUT.json, and a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import count, product
from pathlib import Path

import numpy as np

import petdiff
from petdiff.acceptance.measure import FILTER, MODEL, Figure, ScanFigures
from petdiff.acceptance.verdict import conclude
from petdiff.evaluation.baselines import best_gaussian
from petdiff.evaluation.metrics import psnr
from petdiff.image import PETImage
from petdiff.simulation.scanner.scanners import SCANNERS
from petdiff.thinning.thin import MeasuredScan
from petdiff.volume.regions import body_mask
from thinning import simulated

DOSES = (2.0, 4.0, 20.0)
TRACERS = ("fdg", "psma", "dotatate", "fapi")
FIRST_SEED = 640_000  # neither training nor the fit of thinning saw patients from here on
VOXEL_MM = 6.0


def site(number: int) -> tuple[str, str]:
    """Return scanner and tracer of a site; twenty sites have all pairs."""
    pairs = list(product(TRACERS, SCANNERS))
    tracer, scanner = pairs[7 * number % len(pairs)]
    return scanner, tracer


def scans(number: int, patient: int, cache: Path) -> tuple[PETImage, dict[float, PETImage]]:
    """Return a patient's full-dose scan and its truly thinned ones, simulated once."""
    kept = cache / f"{FIRST_SEED + 100 * number + patient}.npz"
    if not kept.exists():
        seeds = count(FIRST_SEED + 100 * number + patient, 50)
        study = simulated(seeds, *site(number), DOSES, VOXEL_MM)
        volumes = np.stack([study.full.suv, *(study.lows[drf].suv for drf in DOSES)])
        unfinished = kept.with_suffix(".part.npz")
        np.savez(unfinished, volumes=volumes, affine=study.full.affine)
        unfinished.replace(kept)
    stored = np.load(kept)
    full, *lows = (PETImage(one, stored["affine"]) for one in stored["volumes"])
    return full, dict(zip(DOSES, lows, strict=True))


def figures(full: PETImage, low: PETImage, drf: float) -> list[Figure]:
    """Return the PSNR of a low-dose scan after the model and after the filter."""
    body = body_mask(full.suv, full.spacing_mm)
    peak = float(full.suv.max())
    compared = {
        MODEL: petdiff.denoise(low, drf=drf).image.suv,
        FILTER: best_gaussian(low.suv, full.suv, full.spacing_mm, body).suv,
    }
    found = {name: psnr(full.suv, suv, peak, body) for name, suv in compared.items()}
    return [Figure(drf, n, "psnr_db", "body", v) for n, v in found.items() if v is not None]


def measured(number: int, patient: int, cache: Path) -> dict[str, list[Figure]]:
    """Return a patient's figures on thinned and on truly thinned scans."""
    full, lows = scans(number, patient, cache)
    noise = MeasuredScan(full)
    found: dict[str, list[Figure]] = {"thinned": [], "true": []}
    for n, drf in enumerate(DOSES):
        found["thinned"] += figures(full, noise.thinned(drf, seed=n).image, drf)
        found["true"] += figures(full, lows[drf], drf)
    return found


def verdicts(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the two verdicts of each site and dose."""
    found = []
    for number in sorted({row["site"] for row in rows}):  # type: ignore[type-var]
        mine = [row for row in rows if row["site"] == number]
        for drf in DOSES:
            both: dict[str, object] = {"site": number, "drf": drf, "n": len(mine)}
            for kind in ("thinned", "true"):
                of_scans = [
                    ScanFigures(name="", figures=tuple(Figure(*f) for f in row[kind]))  # type: ignore[attr-defined]
                    for row in mine
                ]
                verdict = conclude(of_scans, drf)
                both[kind] = verdict.judgement
                both[f"{kind}_db"] = verdict.psnr_db.mean
                both[f"{kind}_interval"] = [verdict.psnr_db.low, verdict.psnr_db.high]
            found.append(both)
    return found


def summary(found: list[dict[str, object]]) -> None:
    """Print how often both verdicts are the same, by dose, and which differ."""
    for drf in DOSES:
        here = [row for row in found if row["drf"] == drf]
        same = sum(row["thinned"] == row["true"] for row in here)
        pairs = Counter(f"{row['thinned']} / {row['true']}" for row in here)
        off = [row["thinned_db"] - row["true_db"] for row in here]  # type: ignore[operator]
        print(
            f"1/{drf:g}: {same} of {len(here)} the same; mean gain off by {np.mean(off):+.2f} ± "
            f"{np.std(off):.2f} dB; thinned / true: {dict(pairs)}"
        )
    same = sum(row["thinned"] == row["true"] for row in found)
    opposed = sum({row["thinned"], row["true"]} == {"better", "worse"} for row in found)
    print(f"all: {same} of {len(found)} the same ({same / len(found):.0%}), {opposed} opposed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--sites", type=int, default=20)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--simulate-only", action="store_true")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = json.loads(options.output.read_bytes()) if options.output.exists() else []
    done = {(row["site"], row["patient"]) for row in rows}
    for number, patient in product(range(options.sites), range(options.patients)):
        if options.simulate_only:
            scans(number, patient, options.cache)
        elif (number, patient) not in done:
            scanner, tracer = site(number)
            about = {"site": number, "patient": patient, "scanner": scanner, "tracer": tracer}
            rows.append(about | measured(number, patient, options.cache))
            options.output.write_text(json.dumps(rows), encoding="utf-8")
        print(f"site {number} patient {patient} done", flush=True)
    if rows:
        summary(verdicts(rows))


if __name__ == "__main__":
    main()
