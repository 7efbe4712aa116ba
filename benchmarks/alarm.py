"""Fit the alarm's reference on ordinary simulated scans, and measure what it tells from them.

python benchmarks/alarm.py scans OUT               simulate scans of made-up scanners; resumable
python benchmarks/alarm.py fit OUT                 write flow3d.reference.json
python benchmarks/alarm.py measure OUT --data DIR  print how well each kind is told apart
python benchmarks/alarm.py suv                     print the mean SUV of drawn patients by extent

OUT is that of `benchmarks/audit.py patients` (--first 0 --count 54). The reference rests on
patients 0 to 25 of the scanners that training saw, and on 20 patients of made-up scanners like
those that training draws, each at full dose, 1/4, 1/20 and 1/100. The others are for testing, at
1/4 or 1/20. Kinds that are not ordinary:

suv x 2, / 2   a wrong factor to SUV
gaussian 8 mm  a filter after reconstruction; so is `median`, of 3 × 3 × 3 voxels
tracer         each organ has an uptake drawn at random, with the scan's own noise
ct, mr         of DIR/torso_ct: as Hounsfield units and shifted; an MR is made of its labels
phantom        of DIR/nema_iq, one scan; `sts` of DIR/sts_fdg: real patients, cropped

The baseline is the same distance over the quantiles of uptake alone (arXiv 2212.06506).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from audit import EXTENTS, SCANNERS, TRACERS
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter

import petdiff
from petdiff.image import PETImage, spacing_of
from petdiff.methods.model import load_model
from petdiff.methods.weights_files import weights_path
from petdiff.runs import whole_file
from petdiff.simulation import study
from petdiff.simulation.anatomy.build import patient_grid
from petdiff.simulation.anatomy.render import render
from petdiff.simulation.patient.draw import EXTENTS as ALL_EXTENTS
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.scanner.scanners import SCANNERS as KNOWN
from petdiff.training.supply.simulated_patients import draw_scanner
from petdiff.uncertainty.alarm.features import HISTOGRAM, scan_features
from petdiff.uncertainty.alarm.reference import (
    MEAN_SUV_BOUNDS,
    Reference,
    load_reference,
    mean_suv,
    save_reference,
)

REFERENCE_PATIENTS = 26
MADE_UP_SEED, MADE_UP_COUNT, MADE_UP_REFERENCE = 940_000, 28, 20
MADE_UP = "made-up"  # folder of their scans in OUT
DRAWN_SEED, DRAWN_COUNT, DRAWN_MM = 930_000, 6, 8.0
THRESHOLD = 1.7  # 36 of the 40 reference patients lie below it when they are left out
DOSES = ("full", "low4", "low20", "low100")
FWHM = 2.355
Features = dict[str, float]
Volume = NDArray[np.float32]


def is_seen(index: int) -> bool:
    return index % len(SCANNERS) != len(SCANNERS) - 1


def make_scans(out: Path) -> None:
    """Simulate the patients of made-up scanners; those that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    for index in range(MADE_UP_COUNT):
        path = out / f"{index:04d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([MADE_UP_SEED, index])
        extent = str(rng.choice(list(EXTENTS), p=list(EXTENTS.values())))
        scanner = draw_scanner(rng)
        while scanner.label in {known.label for known in KNOWN.values()}:
            scanner = draw_scanner(rng)
        scans = study.simulate(
            MADE_UP_SEED + index, scanner=scanner, tracer=TRACERS[index % 4],
            dose_factors=(4, 20, 100), voxel_mm=6.0, extent=extent, threads=1,
        )  # fmt: skip
        lows = {f"low{drf:g}_w": low.values for drf, low in scans.lows.items()}
        full, labels = scans.full, scans.labels
        with whole_file(path, replace=True) as unfinished, unfinished.open("wb") as file:
            np.savez(file, full_w=full.values, affine=full.affine, labels=labels, **lows)
        print(path, flush=True)


def patients(out: Path) -> Iterator[tuple[str, int, bool, dict[str, NDArray[np.floating]]]]:
    """Yield kind, index, whether it is of the reference, and scans of each simulated patient."""
    for folder in (out, out / MADE_UP):
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9].npz")):
            index = int(path.stem)
            if folder == out:
                kind = "ordinary" if is_seen(index) else "ordinary, unseen scanner"
                of_reference = index < REFERENCE_PATIENTS and is_seen(index)
                is_test = index >= REFERENCE_PATIENTS
            else:
                kind, of_reference = "ordinary, made-up scanner", index < MADE_UP_REFERENCE
                is_test = not of_reference
            if of_reference or is_test:
                with np.load(path) as scans:
                    yield kind, index, of_reference, dict(scans)


def reference_scans(out: Path) -> list[Features]:
    """Return the features of the scans that the reference rests on."""
    return [
        scan_features(PETImage(scans[f"{dose}_w"], scans["affine"]))
        for _, _, of_reference, scans in patients(out)
        if of_reference
        for dose in DOSES
    ]


def tests(out: Path, data: Path | None) -> Iterator[tuple[str, Features]]:
    """Yield kind and features of each test scan."""
    for kind, index, of_reference, scans in patients(out):
        if of_reference:
            continue
        affine = scans["affine"]
        for dose in DOSES[1:3]:
            yield kind, scan_features(PETImage(scans[f"{dose}_w"], affine))
        if kind == "ordinary, made-up scanner":
            continue
        for other, values in changed(scans, DOSES[1 + index % 2], index):
            yield other, scan_features(PETImage(np.asarray(values, dtype=np.float32), affine))
    if data is not None:
        yield from others(data)


def changed(
    scans: Mapping[str, Volume], dose: str, index: int
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield a scan as it would be with a wrong factor, another filter or another tracer."""
    y, full = scans[f"{dose}_w"], scans["full_w"]
    voxels = np.array(spacing_of(scans["affine"]))
    yield "suv x 2", 2 * y
    yield "suv / 2", y / 2
    yield "gaussian 8 mm", gaussian_filter(y, 8 / FWHM / voxels)
    yield "median", median_filter(y, 3)
    if "labels" in scans:
        uptake = 0.8 * np.random.default_rng(index).lognormal(0, 1, 256)
        uptake[0] = 0
        new = gaussian_filter(uptake[scans["labels"]], 6 / FWHM / voxels)
        noise = (y - full) * np.sqrt((new + 0.02) / (np.maximum(full, 0) + 0.02))
        yield "tracer", np.maximum(new + np.clip(noise, -new, 5 * new), 0)


def others(data: Path) -> Iterator[tuple[str, Features]]:
    """Yield features of what is no PET, of a phantom, and of real patients."""
    folder = data / "torso_ct"
    ct = nib.load(folder / "totalsegmentator_example_ct.nii.gz")
    labels = nib.load(folder / "totalsegmentator_example_seg.nii.gz").get_fdata().astype(int)
    hounsfield = ct.get_fdata().astype(np.float32)
    rng = np.random.default_rng(0)
    for first in range(0, hounsfield.shape[2] - 59, 13):
        part = np.ascontiguousarray(hounsfield[..., first : first + 60])
        for values in (part, part + 1000, (part + 1000) / 1000):
            yield "ct", scan_features(PETImage(values, ct.affine))
        contrasts = rng.uniform(0.2, 2, labels.max() + 1)
        mr = gaussian_filter(contrasts[labels] * (hounsfield > -300), 0.4)
        mr = np.hypot(mr + rng.normal(0, 0.04, mr.shape), rng.normal(0, 0.04, mr.shape))
        part = np.ascontiguousarray(mr[..., first : first + 60], dtype=np.float32)
        yield "mr", scan_features(PETImage(part, ct.affine))
    yield "phantom", scan_features(petdiff.read(data / "nema_iq" / "pet_recon_1"))  # type: ignore[arg-type]
    for folder in sorted((data / "sts_fdg").glob("STS*")):
        yield "sts", scan_features(petdiff.read(folder / "PET_image.nii.gz"))  # type: ignore[arg-type]


def print_suv() -> None:
    """Print the mean SUV of drawn patients, and how often a factor of 2 leaves the bounds."""
    means: dict[tuple[str, str], list[float]] = {}
    told: dict[tuple[str, str], list[bool]] = {}
    for seed in range(DRAWN_SEED, DRAWN_SEED + DRAWN_COUNT):
        for tracer in TRACERS:
            whole = draw_patient(seed, tracer=tracer)
            for extent in ALL_EXTENTS:
                patient = whole.model_copy(update={"extent": extent})
                grid = patient_grid(patient, (DRAWN_MM,) * 3)
                scan = gaussian_filter(render(patient, grid).activity_suv, 6 / FWHM / DRAWN_MM)
                found = scan_features(PETImage(np.asarray(scan, dtype=np.float32), grid.affine))
                means.setdefault((extent, tracer), []).append(float(np.exp(found["scale"])))
                known, rates = mean_suv(found), told.setdefault((extent, tracer), [])
                if known is not None:
                    low, high = MEAN_SUV_BOUNDS
                    rates += [not low <= known.mean * by <= high for by in (1, 2, 0.5)]
    print("| extent | tracer | mean SUV | alarms: right, × 2, ÷ 2 |\n|---|---|---|---|")
    for (extent, tracer), values in sorted(means.items()):
        rates = np.reshape(told[extent, tracer], (-1, 3))
        counts = ", ".join(f"{n} of {len(rates)}" for n in rates.sum(axis=0))
        shown = counts if len(rates) else "not known"
        print(f"| {extent} | {tracer} | {min(values):.2f} to {max(values):.2f} | {shown} |")


def auroc(ordinary: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    higher = other[:, None] > ordinary
    return float(np.mean(higher + 0.5 * (other[:, None] == ordinary)))


def print_table(found: list[tuple[str, Features]], reference: Reference, base: Reference) -> None:
    def scores(kind: str, by: Reference) -> NDArray[np.float64]:
        return np.array([by.compare(one).score for name, one in found if name == kind])

    ordinary = [scores("ordinary", by) for by in (reference, base)]
    print("| kind | scans | alarms | AUROC | AUROC of the histogram alone |")
    print("|---|---|---|---|---|")
    for kind in dict.fromkeys(name for name, _ in found):
        own, other = (scores(kind, by) for by in (reference, base))
        areas = f"{auroc(ordinary[0], own):.2f} | {auroc(ordinary[1], other):.2f}"
        alarms = [reference.compare(one).alarm for name, one in found if name == kind]
        print(f"| {kind} | {len(own)} | {np.mean(alarms):.0%} | {areas} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["scans", "fit", "measure", "suv"])
    parser.add_argument("out", type=Path, nargs="?", default=Path())
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="flow3d")
    asked = parser.parse_args()
    if asked.what == "suv":
        print_suv()
        return
    if asked.what == "scans":
        make_scans(asked.out / MADE_UP)
        return
    weights, sha256 = weights_path(asked.model), load_model(asked.model).sha256
    kept = asked.out / "reference.features.json"
    if asked.what == "fit":
        if not kept.exists():
            kept.write_text(json.dumps(reference_scans(asked.out)))
        scans = json.loads(kept.read_text())
        what = (
            f"{len(scans)} scans of {len(scans) // len(DOSES)} simulated patients on four real "
            f"scanners and {MADE_UP_REFERENCE} made-up ones, four tracers, voxels of 5 and 6 mm, "
            "at full dose, 1/4, 1/20 and 1/100"
        )
        made = Reference.fit(scans, weights_sha256=sha256, what=what, threshold=THRESHOLD)
        print(save_reference(weights, made))
        return
    reference = load_reference(weights, sha256)
    assert reference is not None
    scans = [
        {name: one[name] for name in (*HISTOGRAM, "scale")} for one in json.loads(kept.read_text())
    ]
    base = Reference.fit(scans, weights_sha256=sha256, what="", threshold=THRESHOLD)
    print_table(list(tests(asked.out, asked.data)), reference, base)


if __name__ == "__main__":
    main()
