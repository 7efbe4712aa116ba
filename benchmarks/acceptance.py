"""Verdicts of an acceptance test against those that truly thinned counts would have given.

    python benchmarks/acceptance.py CACHE OUT.json [--models M ...] [--sites N] [--patients N]

A site is a scanner, a tracer and patients of its own (abdomen, 6 mm), scanned at full dose and,
with a part of the same counts, at 1/2, 1/4 and 1/20. Each dose is judged twice as `petdiff accept`
judges it, each model against the best Gaussian: on scans that `petdiff.thin` made from the
full-dose ones, and on the true low-dose ones. The default model is nearly always better than the
Gaussian; a model that is often worse, such as a compared method, tests the other verdicts.
Simulated scans are kept in CACHE, figures in OUT.json, and a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np

import petdiff
from petdiff.acceptance.measure import FILTER, MODEL, Figure, ScanFigures
from petdiff.acceptance.verdict import conclude
from petdiff.evaluation.baselines import best_gaussian
from petdiff.evaluation.metrics import psnr
from petdiff.image import PETImage
from petdiff.runs import whole_file
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
        with whole_file(kept, replace=True) as unfinished, unfinished.open("wb") as file:
            np.savez(file, volumes=volumes, affine=study.full.affine)
    stored = np.load(kept)
    full, *lows = (PETImage(one, stored["affine"]) for one in stored["volumes"])
    return full, dict(zip(DOSES, lows, strict=True))


def figures(full: PETImage, low: PETImage, drf: float, models: list[str]) -> dict[str, float]:
    """Return the PSNR of a low-dose scan after each model, and after the filter."""
    body = body_mask(full.suv, full.spacing_mm)
    peak = float(full.suv.max())
    compared = {model: petdiff.denoise(low, model, drf=drf).image.suv for model in models}
    compared[FILTER] = best_gaussian(low.suv, full.suv, full.spacing_mm, body).suv
    found = {name: psnr(full.suv, suv, peak, body) for name, suv in compared.items()}
    return {name: value for name, value in found.items() if value is not None}


def measured(number: int, patient: int, cache: Path, models: list[str]) -> dict[str, object]:
    """Return a patient's PSNR by dose, on thinned and on truly thinned scans."""
    full, lows = scans(number, patient, cache)
    noise = MeasuredScan(full)
    seeds = count(len(DOSES) * patient)  # not the same noise in all patients
    thinned = {drf: noise.thinned(drf, next(seeds)).image for drf in DOSES}
    return {
        kind: {f"{drf:g}": figures(full, low, drf, models) for drf, low in scans_by_dose.items()}
        for kind, scans_by_dose in {"thinned": thinned, "true": lows}.items()
    }


def verdicts(rows: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    """Return a row per site and dose: the verdicts on a model, on thinned and on true scans."""
    found = []
    for number in sorted({row["site"] for row in rows}):
        patients = [row for row in rows if row["site"] == number]
        for drf in DOSES:
            both: dict[str, Any] = {"site": number, "drf": drf, "n": len(patients)}
            for kind in ("thinned", "true"):
                verdict = conclude([_of_model(row[kind], model, drf) for row in patients], drf)
                both[kind] = verdict.judgement
                both[f"{kind}_db"] = verdict.psnr_db.mean
                both[f"{kind}_interval"] = [verdict.psnr_db.low, verdict.psnr_db.high]
            found.append(both)
    return found


def _of_model(by_dose: dict[str, dict[str, float]], model: str, drf: float) -> ScanFigures:
    """Return the figures of a patient at a dose, as `petdiff accept` has them."""
    psnrs = by_dose[f"{drf:g}"]
    pair = {MODEL: psnrs[model], FILTER: psnrs[FILTER]}
    figures = [Figure(drf, name, "psnr_db", "body", value) for name, value in pair.items()]
    return ScanFigures(name="", figures=tuple(figures))


def summary(found: list[dict[str, Any]]) -> None:
    """Print, by dose, how often both verdicts are the same, and the number of each pair of them."""
    for drf in DOSES:
        at_dose = [row for row in found if row["drf"] == drf]
        same = sum(row["thinned"] == row["true"] for row in at_dose)
        pairs = Counter(f"{row['thinned']} / {row['true']}" for row in at_dose)
        errors_db = [row["thinned_db"] - row["true_db"] for row in at_dose]
        print(
            f"1/{drf:g}: {same} of {len(at_dose)} the same; mean gain off by "
            f"{np.mean(errors_db):+.2f} ± {np.std(errors_db):.2f} dB; thinned / true: {dict(pairs)}"
        )
    same = sum(row["thinned"] == row["true"] for row in found)
    opposed = sum({row["thinned"], row["true"]} == {"better", "worse"} for row in found)
    print(f"all: {same} of {len(found)} the same ({same / len(found):.0%}), {opposed} opposed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["flow3d"])
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
            psnrs = measured(number, patient, options.cache, options.models)
            rows.append(about | psnrs)
            options.output.write_text(json.dumps(rows), encoding="utf-8")
        print(f"site {number} patient {patient} done", flush=True)
    for model in options.models if rows else []:
        print(model)
        summary(verdicts(rows, model))


if __name__ == "__main__":
    main()
