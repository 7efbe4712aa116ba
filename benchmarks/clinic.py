"""The virtual clinic held against real scanners and real bodies, one command for each table.

    python benchmarks/clinic.py noise quadra --patients 20 --quantiles FILE.csv
    python benchmarks/clinic.py phantom quadra
    python benchmarks/clinic.py liver vision600 --patients 6
    python benchmarks/clinic.py organs --patients 40
    python benchmarks/clinic.py cost quadra --voxel-size 3.3

noise    the noise metric of FDG patients at full dose and below, beside quantiles of real scans
phantom  recovery of the NEMA image-quality phantom's spheres, beside the bands of EARL
liver    the coefficient of variation in a 30 mm sphere of the liver at full dose
organs   volumes of drawn organs against the reference man and woman
cost     seconds and peak memory of a total-body study
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from petdiff.clinic.anatomy.build import patient_grid
from petdiff.clinic.anatomy.grid import Grid
from petdiff.clinic.anatomy.render import render
from petdiff.clinic.description import Patient
from petdiff.clinic.exam import Exam, coverage
from petdiff.clinic.iq_phantom import DIAMETERS_MM, image_quality_phantom, recoveries
from petdiff.clinic.isotopes import F18
from petdiff.clinic.patient import draw_patient
from petdiff.clinic.scan import scan
from petdiff.clinic.scanners import SCANNERS, Scanner, get_scanner
from petdiff.image import PETImage
from petdiff.io import write

DOSES = (4, 10, 20, 50, 100)
METRIC_MM = 1.65
BLOCK_MM, REACH_MM = 6.6, 8.3  # of a block, and of slices beyond it that its metric looks at
SEVERAL_BEDS = ("vision600", "discovery-mi")


def exam_of(patient: Patient) -> Exam:
    """FDG as the patient was given it."""
    return Exam(patient.injected_mbq * 1e6, patient.weight_kg, patient.uptake_min * 60)


def scanned_grid(patient: Patient, scanner: Scanner) -> Grid:
    """Vertex to mid-thigh; no farther down than the field of a scanner made for a single bed."""
    if scanner.axial_field_mm > 1500:  # a total-body scanner: all of the patient
        return patient_grid(patient, scanner.voxel_mm)
    torso = patient.model_copy(update={"extent": "torso"})
    grid = patient_grid(torso, scanner.voxel_mm)
    if scanner.motion == "single":
        slices = int(scanner.axial_field_mm / scanner.voxel_mm[2])
        grid = grid.slab(max(0, grid.shape[2] - slices), grid.shape[2])
    return grid


def noise_sums(suv: np.ndarray, voxel_mm: tuple[float, ...], core_mm: float) -> tuple[float, float]:
    """Numerator and denominator of the noise metric over the middle core_mm of a stack: at 1.65 mm
    (trilinear), v = log1p(SUV), G a Gaussian of 2 voxels: Σ|v - G∗v| and #(G∗v > 0.1)."""
    size_mm = np.array(suv.shape) * voxel_mm
    axes = []
    for voxel, n, size in zip(voxel_mm, suv.shape, size_mm, strict=True):
        count = int(size / METRIC_MM + 1e-6)
        at_mm = (np.arange(count) - (count - 1) / 2) * METRIC_MM
        axes.append(at_mm / voxel + (n - 1) / 2)
    fine = map_coordinates(suv, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")
    v = np.log1p(np.maximum(fine, 0))
    smooth = gaussian_filter(v, 2.0, mode="nearest")
    beside = (v.shape[2] - round(core_mm / METRIC_MM)) // 2
    core = (slice(None), slice(None), slice(beside, v.shape[2] - beside))
    residual = np.abs(v - smooth)[core]
    return float(residual.sum(dtype=np.float64)), float((smooth[core] > 0.1).sum())


def patient_noise(seed: int, scanner: Scanner, blocks: int) -> dict[str, Any]:
    """The metric of one patient at each dose, pooled over short blocks from end to end.

    Blocks are as far apart as they are many; where the first one lies differs between patients.
    """
    patient = draw_patient(seed, tracer="fdg")
    whole = scanned_grid(patient, scanner)
    exam, slice_mm = exam_of(patient), scanner.voxel_mm[2]
    seen = coverage(scanner, np.arange(whole.shape[2]) * slice_mm, exam.isotope)
    length = int(np.ceil((BLOCK_MM + 2 * REACH_MM) / slice_mm))
    sums = np.zeros((1 + len(DOSES), 2))
    for number in range(blocks):
        share = (number + (seed * 0.618034) % 1) / blocks
        start = int(share * (whole.shape[2] - length))
        phantom = render(patient, whole.slab(start, start + length))
        images = scan(
            phantom.activity_suv,
            phantom.mu_per_cm,
            scanner.voxel_mm,
            scanner,
            exam,
            dose_factors=DOSES,
            seed=seed * 100 + number,
            seen=seen.part(start, start + length),
        )
        for row, image in enumerate((images.full, *(images.lows[dose] for dose in DOSES))):
            sums[row] += noise_sums(image, scanner.voxel_mm, BLOCK_MM)
    names = ("ref", *map(str, DOSES))
    return {
        "seed": seed,
        "sex": patient.sex,
        "kg": round(patient.weight_kg, 1),
        "sums": dict(zip(names, sums.round(2).tolist(), strict=True)),
    }


def noise(options: argparse.Namespace) -> None:
    scanner = get_scanner(options.scanner)
    rows = []
    for seed in range(options.seed, options.seed + options.patients):
        rows.append(patient_noise(seed, scanner, options.blocks))
        print(json.dumps(rows[-1]), flush=True)
    real: dict[str, dict[str, str]] = {}
    if options.quantiles:
        with open(options.quantiles, newline="") as file:
            found = [
                row for row in csv.DictReader(file) if row["scanner"].lower() == options.scanner
            ]
        real = {row["recon"]: row for row in found}
    for name in ("ref", *map(str, DOSES)):
        sums = np.array([row["sums"][name] for row in rows])
        values = sums[:, 0] / sums[:, 1]
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
        line = f"{name:>4}  simulated {middle:.4f} ({low:.4f} - {high:.4f})"
        if name in real:
            one = {key: float(real[name][key]) for key in ("0.05", "0.5", "0.95")}
            inside = "inside" if one["0.05"] <= middle <= one["0.95"] else "OUTSIDE"
            line += f"  real {one['0.5']:.4f} ({one['0.05']:.4f} - {one['0.95']:.4f})  {inside}"
        print(line)


EARL_MEAN = {
    1: ((0.76, 0.89), (0.72, 0.85), (0.63, 0.78), (0.57, 0.73), (0.44, 0.60), (0.27, 0.43)),
    2: ((0.85, 1.00), (0.82, 0.97), (0.80, 0.99), (0.76, 0.97), (0.63, 0.86), (0.39, 0.61)),
}
EARL_MAX = {
    1: ((0.95, 1.16), (0.91, 1.13), (0.83, 1.09), (0.73, 1.01), (0.59, 0.85), (0.34, 0.57)),
    2: ((1.05, 1.29), (1.01, 1.26), (1.01, 1.32), (1.00, 1.38), (0.85, 1.22), (0.52, 0.88)),
}
BQML = Exam(injected_bq=1000.0, weight_kg=1.0, uptake_s=0.0)  # 1 Bq/ml stands for SUV 1


def phantom(options: argparse.Namespace) -> None:
    scanner = get_scanner(options.scanner)
    made = image_quality_phantom(scanner.voxel_mm)
    seen = coverage(scanner, np.arange(made.mu_per_cm.shape[2]) * scanner.voxel_mm[2], F18)
    if scanner.motion == "continuous":
        print(f"each slice is seen for {scanner.bed_seconds:.0f} s")
    image = scan(
        made.activity_bqml,
        made.mu_per_cm,
        scanner.voxel_mm,
        scanner,
        BQML,
        dose_factors=[],
        seed=options.seed,
        seen=seen,
    ).full
    found = np.array(recoveries(image, made))
    print("mm        " + "".join(f"{diameter:7.0f}" for diameter in DIAMETERS_MM))
    for name, values in zip(("mean", "A50 mean", "max"), found.T, strict=True):
        print(f"{name:<10}" + "".join(f"{value:7.3f}" for value in values))
    for version in (1, 2):
        for name, bands, values in (
            ("A50 mean", EARL_MEAN[version], found[:, 1]),
            ("max", EARL_MAX[version], found[:, 2]),
        ):
            verdict = [
                "in" if low <= value <= high else "low" if value < low else "high"
                for (low, high), value in zip(bands, values, strict=True)
            ]
            print(f"EARL-{version} {name:<9}" + "".join(f"{word:>7}" for word in verdict))
    if options.output:
        affine = np.diag([*scanner.voxel_mm, 1.0])
        write(PETImage(image, affine), options.output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("noise")
    verb.add_argument("scanner", choices=("quadra", "uexplorer"))
    verb.add_argument("--patients", type=int, default=20)
    verb.add_argument("--seed", type=int, default=500)
    verb.add_argument("--blocks", type=int, default=4)
    verb.add_argument("--quantiles", type=Path)
    verb.set_defaults(run=noise)
    verb = verbs.add_parser("phantom")
    verb.add_argument("scanner", choices=SCANNERS)
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--output", type=Path, help="NIfTI file of the scan, in Bq/ml")
    verb.set_defaults(run=phantom)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
