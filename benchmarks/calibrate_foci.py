"""Calibrate the intervals of foci that `petdiff measure --lesions auto` finds.

python benchmarks/calibrate_foci.py patients OUT [--part 0/2] [--minutes 60]   resumable
python benchmarks/calibrate_foci.py fit OUT       add them to the model's calibration

Foci are found in the denoised scan, so that their places depend on it: intervals of lesions at
known places do not hold for them. Patients, doses and roles are those of calibrate.py, without the
patients of invented scanners.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from calibrate import (
    FIRST_SEED,
    Patient,
    Plan,
    Role,
    calibrate,
    held,
    read_patients,
    save_tables,
)
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.measurement.figures import CALIBRATED, region_figures
from petdiff.measurement.foci import find_lesions
from petdiff.measurement.region import Region
from petdiff.methods.model import Model, load_model
from petdiff.methods.weights_files import SHIPPED
from petdiff.uncertainty.calibration.features import ScanFeatures, figure_features, region_features
from petdiff.uncertainty.calibration.record import (
    Coverage,
    FigureCalibration,
    load_calibration,
    save_calibration,
)

COUNT = 192  # patients that are drawn
FIGURES = ("mean", "max", "peak", "mtv_41")
# Patients by role. None is scanned by an invented scanner: with these, bounds were twice as wide
# and held too often.
WANTED: dict[Role, int] = {"fitting": 14, "calibrating": 28, "testing": 14}
_FOCI = " Foci of SUV 4 and more: "
MAX_FOCI = 60  # per scan, the most conspicuous: those further down are ever more alike


def order() -> list[int]:
    """Return the numbers of the patients, the first of each role."""
    plans = [Plan.of(index) for index in range(COUNT)]
    return [
        plan.index
        for role, wanted in WANTED.items()
        for plan in [p for p in plans if p.role == role and not p.invented_scanner][:wanted]
    ]


def make_patients(out: Path, model: Model, part: int, parts: int, minutes: float) -> None:
    """Write the tables of each patient to a file of its own; those that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    stop = time.monotonic() + 60 * minutes
    for turn, index in enumerate(order()):
        path, seed, plan = out / f"{index:04d}.npz", FIRST_SEED + index, Plan.of(index)
        if turn % parts != part or path.exists() or time.monotonic() > stop:
            continue
        scans, given = plan.simulate(threads=1), plan.given
        rows: dict[str, list[dict[str, float]]] = {}
        for drf, low in scans.lows.items():
            denoised_scan = denoise(low, model, drf=drf if given[drf] else None, seed=seed).image
            for key, row in foci_rows(scans.full, low, denoised_scan):
                known = {"drf": drf, "given": float(given[drf])}
                rows.setdefault(key, []).append(row | known)
        tables = {
            f"{key} {name}": np.array([row[name] for row in found], dtype=np.float32)
            for key, found in rows.items()
            for name in found[0]
        }
        save_tables(path, tables)


def foci_rows(
    full: PETImage, low: PETImage, denoised_scan: PETImage
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield "figure focus" and its row, for each figure of a focus that exists in all scans."""
    try:
        regions = find_lesions(denoised_scan)[:MAX_FOCI]
    except InputRefused:  # there is no focus
        return
    signs = ScanFeatures.of(low.values, denoised_scan.values)
    for one in regions:
        reference, measured, denoised = (
            region_figures(one, scan.values, scan.spacing_mm) for scan in (full, low, denoised_scan)
        )
        of_region = _features(one, signs, low.values, denoised_scan.values)
        for figure in FIGURES:
            values = [scan[figure] for scan in (reference, measured, denoised)]
            if None in values:
                continue
            name = CALIBRATED[figure]
            row = dict(zip(("reference", "measured", "denoised"), map(float, values), strict=True))
            found = figure_features(name, of_region, row["denoised"])
            row |= {f"denoised:{feature}": size for feature, size in found.items()}
            yield f"{name} focus", row


def _features(
    one: Region,
    signs: ScanFeatures,
    measured: NDArray[np.float32],
    denoised: NDArray[np.float32],
) -> dict[str, float]:
    mask = one.mask
    return region_features(signs, measured, denoised, mask.box, mask.weights, mask.volume_ml)


def fit(patients: list[Patient]) -> tuple[list[FigureCalibration], list[Coverage]]:
    """Return the calibrations of foci, and their coverage on the patients that test."""
    figures, coverage = [], []
    for figure in FIGURES:
        one = calibrate(patients, CALIBRATED[figure], "focus")
        if one is None:
            continue
        figures.append(one)
        for level in map(float, one.groups[0].bounds):
            rows = held(patients, one, level, "testing")
            share, width = (float(np.mean(column)) for column in zip(*rows, strict=True))
            coverage.append(
                Coverage(
                    figure=one.figure, region="focus", level=level, patients=len(rows),
                    held=round(share, 4), width=round(width, 4),
                )
            )  # fmt: skip
            spread = np.std([row.share for row in rows], ddof=1) / len(rows) ** 0.5
            print(
                f"{one.figure:12} {level:4g}: held {100 * share:.1f} ± {100 * spread:.1f} % "
                f"(standard error), {len(rows)} patients, width {width:.3g}; "
                f"{one.groups[0].patients} calibrating, toward measured {one.toward_measured:g}"
            )
    return figures, coverage


def volumes_ml(patients: list[Patient]) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the volumes of the calibrating foci."""
    columns = [
        [p.table[f"suv_mean focus denoised:{name}"] for p in patients
         if p.plan.role == "calibrating" and "suv_mean focus drf" in p.table]
        for name in ("noise", "noise_of_mean")
    ]  # fmt: skip
    noise, of_mean = (np.concatenate(parts).astype(np.float64) for parts in columns)
    low, high = np.quantile((noise / of_mean) ** 2, (0.01, 0.99))
    return float(f"{low:.3g}"), float(f"{high:.3g}")


def _in_words(patients: list[Patient]) -> str:
    roles = [p.plan.role for p in patients]
    counts = [roles.count(role) for role in ("calibrating", "fitting", "testing")]
    return (
        f"{_FOCI}{counts[0]} of them and {counts[1]} for the scale, none on an invented scanner; "
        f"coverage: {counts[2]}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["patients", "fit"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="flow3d")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--dry", action="store_true", help="print coverage and write nothing")
    asked = parser.parse_args()
    model = load_model(asked.model)
    if asked.what == "patients":
        part, parts = map(int, asked.part.split("/"))
        make_patients(asked.out, model, part, parts, asked.minutes)
        return
    shipped = Path(str(SHIPPED)) / f"{asked.model}.safetensors"
    weights = shipped if shipped.is_file() else Path(asked.model)
    patients = read_patients(asked.out)
    figures, coverage = fit(patients)
    old = load_calibration(weights, model.sha256)
    new = old.model_copy(
        update={
            "figures": (*(f for f in old.figures if f.region != "focus"), *figures),
            "coverage": (*(c for c in old.coverage if c.region != "focus"), *coverage),
            "region_ml": old.region_ml | {"focus": volumes_ml(patients)},
            "patients": old.patients.split(_FOCI)[0] + _in_words(patients),
        }
    )
    if not asked.dry:
        print(save_calibration(weights, new))


if __name__ == "__main__":
    main()
