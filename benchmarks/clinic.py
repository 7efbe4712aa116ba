"""Compare simulated patients and scanners with real ones; one command for each table.

    python benchmarks/clinic.py noise quadra --patients 20 --quantiles FILE.csv
    python benchmarks/clinic.py phantom quadra
    python benchmarks/clinic.py liver vision600 --patients 6
    python benchmarks/clinic.py organs --patients 40
    python benchmarks/clinic.py cost quadra --voxel-size 3.3
    python benchmarks/clinic.py volumes --workers 2

noise    noise metric of FDG patients at full dose and below, compared with quantiles of real scans
phantom  recovery of the NEMA image-quality phantom's spheres, compared with the EARL bands
liver    coefficient of variation in a 30 mm sphere of the liver at full dose
organs   volumes of drawn organs relative to the reference man and woman
cost     seconds and peak memory of a total-body study
volumes  wall-clock seconds per training volume, one full-dose and three low-dose scans
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from threadpoolctl import threadpool_limits

from petdiff.image import PETImage
from petdiff.io import write
from petdiff.simulation.anatomy.build import patient_grid
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.render import render
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.phantom.image_quality import DIAMETERS_MM, image_quality_phantom, recoveries
from petdiff.simulation.scanner.exam import Exam, axial_sensitivity
from petdiff.simulation.scanner.isotopes import F18
from petdiff.simulation.scanner.scan import scan
from petdiff.simulation.scanner.scanners import SCANNERS, Scanner, get_scanner
from petdiff.simulation.shapes.grid import Grid
from petdiff.training.supply.randomized_scans import SHAPE, make_randomized_scan
from petdiff.units import FWHM_PER_SIGMA

DOSES = (4, 10, 20, 50, 100)
METRIC_MM = 1.65
BLOCK_MM, REACH_MM = 6.6, 8.3  # length of a block, and reach of its metric beyond it
SEVERAL_BEDS = ("vision600", "discovery-mi")


def exam_of(patient: Patient) -> Exam:
    """Return the patient's own injection as an FDG exam."""
    return Exam(patient.injected_mbq * 1e6, patient.weight_kg, patient.uptake_min * 60)


def scanned_grid(patient: Patient, scanner: Scanner) -> Grid:
    """Return the grid from vertex to mid-thigh; the whole patient for a total-body scanner.

    For a scanner made for a single bed, the grid is no longer than the axial field.
    """
    if scanner.axial_field_mm > 1500:  # a total-body scanner
        return patient_grid(patient, scanner.voxel_mm)
    torso = patient.model_copy(update={"extent": "torso"})
    grid = patient_grid(torso, scanner.voxel_mm)
    if scanner.motion == "single":
        slices = int(scanner.axial_field_mm / scanner.voxel_mm[2])
        grid = grid.part(max(0, grid.shape[2] - slices), grid.shape[2])
    return grid


def noise_sums(suv: np.ndarray, voxel_mm: tuple[float, ...], core_mm: float) -> tuple[float, float]:
    """Return numerator and denominator of the noise metric over the middle core_mm of a stack.

    The metric is Σ|v - G∗v| / #(G∗v > 0.1) with v = log1p(SUV) at voxels of 1.65 mm (trilinear); G
    is a Gaussian with a standard deviation of 2 voxels.
    """
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


def patient_noise(seed: int, scanner: Scanner, blocks: int, offset: float) -> dict[str, Any]:
    """Return the noise metric's sums of one patient at each dose, pooled over short blocks.

    The blocks are evenly spaced along the patient. `offset`, in 0…1, is the position of each block
    within its share of the length.
    """
    patient = draw_patient(seed, tracer="fdg")
    whole = scanned_grid(patient, scanner)
    exam, slice_mm = exam_of(patient), scanner.voxel_mm[2]
    sensitivity = axial_sensitivity(scanner, np.arange(whole.shape[2]) * slice_mm, exam.isotope)
    length = int(np.ceil((BLOCK_MM + 2 * REACH_MM) / slice_mm))
    sums = np.zeros((1 + len(DOSES), 2))
    for number in range(blocks):
        share = (number + offset) / blocks
        start = int(share * (whole.shape[2] - length))
        phantom = render(patient, whole.part(start, start + length))
        images = scan(
            phantom.activity_suv,
            phantom.mu_per_cm,
            scanner.voxel_mm,
            scanner,
            exam,
            dose_factors=DOSES,
            seed=seed + 1000 * number,
            sensitivity=sensitivity.part(start, start + length),
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
    for number in range(options.patients):
        # Evenly spaced offsets in an order where neighbours differ (7 divides no round number).
        offset = (7 * number % options.patients + 0.5) / options.patients
        rows.append(patient_noise(options.seed + number, scanner, options.blocks, offset))
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
        pooled = float(sums[:, 0].sum() / sums[:, 1].sum())
        line = f"{name:>4}  pooled {pooled:.4f}, patients {middle:.4f} ({low:.4f} - {high:.4f})"
        if name in real:
            one = {key: float(real[name][key]) for key in ("0.05", "0.5", "0.95")}
            verdicts = (one["0.05"] <= value <= one["0.95"] for value in (pooled, middle))
            inside = ", ".join("inside" if verdict else "OUTSIDE" for verdict in verdicts)
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
BQML = Exam(injected_bq=1000.0, weight_kg=1.0, uptake_s=0.0)  # makes 1 Bq/ml equal SUV 1


def phantom(options: argparse.Namespace) -> None:
    scanner = get_scanner(options.scanner)
    made = image_quality_phantom(scanner.voxel_mm)
    sensitivity = axial_sensitivity(
        scanner, np.arange(made.mu_per_cm.shape[2]) * scanner.voxel_mm[2], F18
    )
    if scanner.motion == "continuous":
        print(f"each slice is in the field for {scanner.bed_seconds:.0f} s")
    image = scan(
        made.activity_bqml,
        made.mu_per_cm,
        scanner.voxel_mm,
        scanner,
        BQML,
        dose_factors=[],
        seed=options.seed,
        sensitivity=sensitivity,
    ).full
    print("mm             " + "".join(f"{diameter:8.0f}" for diameter in DIAMETERS_MM))
    for further_mm in (0, *options.filters):
        sigma = further_mm / FWHM_PER_SIGMA / np.array(scanner.voxel_mm)
        found = np.array(recoveries(gaussian_filter(image, sigma), made))
        print(
            f"as protocol, with a further Gaussian of {further_mm} mm"
            if further_mm
            else "as protocol"
        )
        print("mean           " + "".join(f"{value:8.3f}" for value in found[:, 0]))
        for name, bands, values in (
            ("A50", EARL_MEAN, found[:, 1]),
            ("max", EARL_MAX, found[:, 2]),
        ):
            print(f"{name:<15}" + "".join(f"{value:8.3f}" for value in values))
            for version, band in bands.items():
                words = [
                    "in" if low <= value <= high else "low" if value < low else "high"
                    for (low, high), value in zip(band, values, strict=True)
                ]
                print(f"  in EARL-{version}?   " + "".join(f"{word:>8}" for word in words))
    if options.output:
        affine = np.diag([*scanner.voxel_mm, 1.0])
        write(PETImage(image, affine), options.output)


def liver_variation(seed: int, scanner: Scanner) -> dict[str, Any]:
    """Return the full-dose coefficient of variation in a sphere of 30 mm in the liver.

    The sphere lies where the liver is thickest.
    """
    patient = draw_patient(seed, tracer="fdg", lesions=False)
    abdomen = patient.model_copy(update={"extent": "abdomen"})
    coarse = patient_grid(abdomen, (6.0, 6.0, 6.0))
    labels = render(patient, coarse).labels
    liver = labels == next(number for number, name in NAMES.items() if name == "liver")
    depth = distance_transform_edt(liver, sampling=coarse.voxel_mm)
    deepest = np.unravel_index(int(depth.argmax()), depth.shape)
    centre_mm = np.array(coarse.origin_mm) + np.array(deepest) * coarse.voxel_mm
    whole = scanned_grid(patient, scanner)
    exam, slice_mm = exam_of(patient), scanner.voxel_mm[2]
    sensitivity = axial_sensitivity(scanner, np.arange(whole.shape[2]) * slice_mm, exam.isotope)
    start, stop = (
        round((centre_mm[2] + side * 22 - whole.origin_mm[2]) / slice_mm) for side in (-1, 1)
    )
    part = whole.part(start, stop)
    phantom = render(patient, part)
    image = scan(
        phantom.activity_suv,
        phantom.mu_per_cm,
        scanner.voxel_mm,
        scanner,
        exam,
        dose_factors=[],
        seed=seed,
        sensitivity=sensitivity.part(start, stop),
    ).full
    x, y, z = np.ix_(*part.axes_mm)
    a, b, c = centre_mm
    sphere = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < 15**2
    return {
        "seed": seed,
        "kg": round(patient.weight_kg, 1),
        "deep_mm": round(float(depth.max()), 1),
        "suv": round(float(image[sphere].mean()), 3),
        "truth_cov": round(_variation(phantom.activity_suv[sphere]), 4),
        "cov": round(_variation(image[sphere]), 4),
    }


def _variation(values: np.ndarray) -> float:
    return float(values.std(dtype=np.float64) / values.mean(dtype=np.float64))


def liver(options: argparse.Namespace) -> None:
    rows = []
    for seed in range(options.seed, options.seed + options.patients):
        rows.append(liver_variation(seed, get_scanner(options.scanner)))
        print(json.dumps(rows[-1]), flush=True)
    cov = np.array([row["cov"] for row in rows])
    print(f"liver COV {cov.mean():.3f} ({cov.min():.3f} to {cov.max():.3f}); clinical 0.08 to 0.13")


# Mean volume in ml of man and woman (ICRP 89 masses; lungs at rest), and the relative standard
# deviation between adults. Measured on CT: liver and spleen (Jasper, J Clin Diagn Res
# 2019, doi 10.7860/JCDR/2019/41932.13038), kidneys (Kwon, Korean J Nephrol 2008); others assumed.
ORGANS: dict[str, tuple[tuple[str, ...], float, float, float]] = {
    "brain": (("cerebrum", "cerebellum", "brainstem", "deep_nuclei"), 1450, 1300, 0.10),
    "liver": (("liver",), 1800, 1400, 0.17),
    "spleen": (("spleen",), 150, 130, 0.40),
    "kidneys": (("kidney",), 310, 275, 0.19),
    "pancreas": (("pancreas",), 140, 120, 0.25),
    "heart": (("heart_",), 840, 620, 0.20),
    "lungs": (("lung_",), 3600, 2900, 0.25),
    "thyroid": (("thyroid_gland",), 20, 17, 0.35),
    "stomach": (("stomach",), 400, 370, 0.35),
    "parotids": (("parotid_gland",), 50, 41, 0.30),
}


def organs(options: argparse.Namespace) -> None:
    ratios: dict[str, list[float]] = {name: [] for name in ORGANS}
    drawn = {"male": 0, "female": 0}
    seed = options.seed
    while min(drawn.values()) < options.patients:
        patient = draw_patient(seed, tracer="fdg", lesions=False)
        seed += 1
        if drawn[patient.sex] == options.patients:
            continue
        drawn[patient.sex] += 1
        grid = patient_grid(patient, (options.voxel_size,) * 3)
        counts = np.bincount(render(patient, grid).labels.ravel(), minlength=256)
        for name, (starts, man_ml, woman_ml, _) in ORGANS.items():
            voxels = sum(counts[n] for n, label in NAMES.items() if label.startswith(starts))
            expected = man_ml if patient.sex == "male" else woman_ml
            ratios[name].append(float(voxels * np.prod(grid.voxel_mm) / 1000 / expected))
    inside = 0
    for name, (*_, sd) in ORGANS.items():
        values = np.array(ratios[name])
        near = int((np.abs(values - 1) < 2 * sd).sum())
        inside += near
        print(
            f"{name:<9} mean {values.mean():.2f}  SD {values.std():.2f}  "
            f"within 2 SD of {sd:.2f}: {near}/{len(values)}"
        )
    total = sum(map(len, ratios.values()))
    print(f"all       {inside}/{total} = {100 * inside / total:.1f} %")


def cost(options: argparse.Namespace) -> None:
    """Print wall-clock and CPU seconds of each part, and the peak memory of the process so far."""
    scanner = get_scanner(options.scanner)
    marks = [(time.perf_counter(), time.process_time())]

    def mark(what: str) -> None:
        marks.append((time.perf_counter(), time.process_time()))
        wall, cpu = (after - before for before, after in zip(marks[-2], marks[-1], strict=True))
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what:<7} {wall:7.1f} s wall {cpu:7.1f} s CPU, peak {peak_gib:.2f} GiB", flush=True)

    patient = draw_patient(options.seed, tracer="fdg", extent=options.extent)
    mark("draw")
    grid = patient_grid(
        patient, (options.voxel_size,) * 3 if options.voxel_size else scanner.voxel_mm
    )
    if options.slices:
        start = max(0, (grid.shape[2] - options.slices) // 2)
        grid = grid.part(start, min(start + options.slices, grid.shape[2]))
    phantom = render(patient, grid)
    mark("render")
    images = scan(
        phantom.activity_suv,
        phantom.mu_per_cm,
        grid.voxel_mm,
        scanner,
        exam_of(patient),
        dose_factors=options.doses,
        seed=options.seed,
        threads=options.threads,
        device=options.device,
    )
    mark("scan")
    print(f"{grid.shape} voxels of {grid.voxel_mm} mm, {1 + len(images.lows)} doses")


def make_volume(index: int) -> None:
    with threadpool_limits(1):
        make_randomized_scan(0, index)


def volumes(options: argparse.Namespace) -> None:
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(make_volume, range(options.workers)))  # warm up: imports and tables
        start = time.perf_counter()
        list(pool.map(make_volume, range(options.workers, options.workers + options.number)))
    seconds = (time.perf_counter() - start) / options.number
    print(f"training volume of {' × '.join(map(str, SHAPE))} voxels in {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("noise")
    verb.add_argument("scanner", choices=("quadra", "uexplorer"))
    verb.add_argument("--patients", type=int, default=20)
    verb.add_argument("--seed", type=int, default=500)
    verb.add_argument("--blocks", type=int, default=4, help="scanned blocks per patient")
    verb.add_argument("--quantiles", type=Path, help="CSV table of real scans' noise quantiles")
    verb.set_defaults(run=noise)
    verb = verbs.add_parser("phantom")
    verb.add_argument("scanner", choices=SCANNERS)
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--filters", type=float, nargs="*", default=[], help="further filters, mm")
    verb.add_argument("--output", type=Path, help="NIfTI file of the scan, in Bq/ml")
    verb.set_defaults(run=phantom)
    verb = verbs.add_parser("liver")
    verb.add_argument("scanner", choices=SEVERAL_BEDS)
    verb.add_argument("--patients", type=int, default=6)
    verb.add_argument("--seed", type=int, default=700)
    verb.set_defaults(run=liver)
    verb = verbs.add_parser("organs")
    verb.add_argument("--patients", type=int, default=40, help="number of patients of each sex")
    verb.add_argument("--seed", type=int, default=1000)
    verb.add_argument("--voxel-size", type=float, default=4.0)
    verb.set_defaults(run=organs)
    verb = verbs.add_parser("cost")
    verb.add_argument("scanner", choices=SCANNERS)
    verb.add_argument("--seed", type=int, default=1000)
    verb.add_argument("--extent", default="total-body")
    verb.add_argument("--slices", type=int, help="scan only this many slices in the middle")
    verb.add_argument("--voxel-size", type=float)
    verb.add_argument("--doses", type=float, nargs="*", default=[2, 4, 10, 20, 50, 100])
    verb.add_argument("--threads", type=int, default=2)
    verb.add_argument("--device", help="torch device of the reconstruction, such as cuda")
    verb.set_defaults(run=cost)
    verb = verbs.add_parser("volumes")
    verb.add_argument("--workers", type=int, default=2)
    verb.add_argument("--number", type=int, default=24, help="training volumes to make")
    verb.set_defaults(run=volumes)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
