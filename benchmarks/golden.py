"""A record of what the program computes, so that a refactoring can be shown to change no number.

    python benchmarks/golden.py [SECTION ...] [-o FILE] [--against FILE]

Small jobs of every kind, in float32 and with one thread. An entry of the record is the SHA-256 of
an array or of figures, with a few numbers for people beside it. With --against the entries are held
against an earlier record's: those that differ are listed, and the exit status is 1. Records are for
one machine and its libraries; others round otherwise. Takes two minutes of a processor.

denoise   each shipped model on a made-up scan: images and uncertainties
simulate  patients of the virtual clinic, and one in the anatomy of a label map
slab      a training slab of each kind
train     each method after 20 steps from fresh weights: weights and losses
cohort    every row of two patients' evaluation but the times, and what is summed up from them
suv       factors of made-up headers
metrics   every figure of one scan against another
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from threadpoolctl import threadpool_limits

import petdiff
from petdiff.data.array_store import Store
from petdiff.device import PRECISION_VARIABLE
from petdiff.evaluation.cohort.definition import Cohort, Exam
from petdiff.evaluation.cohort.exam import Measured, measure_exam
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.evaluation.cohort.stored import StoredReading
from petdiff.evaluation.cohort.summary import summarise
from petdiff.evaluation.cohort.table import tabulate
from petdiff.evaluation.detection.lesion_summary import summarise_lesions
from petdiff.evaluation.metrics import compare
from petdiff.evaluation.protocol import measure_scan, prepare
from petdiff.evaluation.weighted_mask import sphere_mask
from petdiff.image import PETImage
from petdiff.methods.model import load_model
from petdiff.methods.registry import METHODS
from petdiff.methods.weights_files import shipped_models
from petdiff.suv import header as suv_header
from petdiff.suv.rules import suv_from_headers
from petdiff.training.log import LogEntry
from petdiff.training.loop import Hooks, train
from petdiff.training.prepare import cutter, recipe_volumes
from petdiff.training.process_group import join_group
from petdiff.training.recipe import Recipe
from petdiff.training.supply.examples import ExampleMaker, without_networks
from petdiff.training.supply.paired_volumes import PairedVolumes
from petdiff.training.supply.simulated_patients import SimulatedPatients
from petdiff.training.supply.workers import ExampleSupply
from petdiff.training.validation import Validation

Entries = Iterator[tuple[str, dict[str, Any]]]

FEW = 4  # steps of the models that need many
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "any": {"one sample": {"samples": 1}, "in tiles": {"samples": 1, "tile": 32}},
    "ddpm2d": {"two samples": {"samples": 2}},
    "flow3d": {
        "told the dose": {"drf": 20.0},
        "three samples": {"samples": 3},
        "three samples, told the dose": {"samples": 3, "drf": 20.0},
        "at 5 × 5 × 6 mm": {"voxel_mm": (5.0, 5.0, 6.0)},
    },
}
SIMULATE = (
    ("quadra", "fdg", "thorax"),
    ("vision600", "psma", "abdomen"),
    ("discovery-mi", "dotatate", "pelvis"),
)
SLAB = {  # of the supply of seed 0
    "abstract body": 2, "part of a patient": 4, "part of a patient, no time of flight": 16,
    "stretch on any scanner": 12,
}  # fmt: skip
TRAIN = Recipe(
    preset="tiny", steps=20, batch=2, warmup=2, micro_batch=1, pool=2, patches_per_volume=10,
    save_every=20, validate_every=0, precision="float32",
)  # fmt: skip
PATCH = (24, 24, 16)  # voxels
COHORT: dict[str, Any] = {
    "seed": 13, "patients": 2, "doses": (50,), "voxel_mm": 10, "extent": "abdomen",
    "lesions": True,
    "methods": {
        "measured": {}, "gaussian": {}, "non-local-means": {}, "flow3d": {},
        "told": {"model": "flow3d", "steps": 3, "samples": 2, "tell_dose": True},
    },
}  # fmt: skip
SHOWN = (("psnr_db", "body"), ("nrmse", "body"), ("filter_strength", "all"))
HEADER = {  # of a PET slice
    "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["ATTN", "DECY"],
    "PatientWeight": 70, "PatientSize": 1.75, "PatientSex": "M",
    "RadionuclideTotalDose": 3.5e8, "RadionuclideHalfLife": 6586.2,
    "RadiopharmaceuticalStartDateTime": "20240102090000",
    "SeriesDate": "20240102", "SeriesTime": "100217", "AcquisitionDate": "20240102",
    "AcquisitionTime": "100217", "ActualFrameDuration": 120_000, "FrameReferenceTime": 59_600,
}  # fmt: skip
LATER = {"AcquisitionTime": "100430", "FrameReferenceTime": 192_600}  # of a second bed
SUV: dict[str, Sequence[dict[str, Any]]] = {  # changes of the header, slice by slice
    "series time": [{}, LATER],
    "frame reference time": [{"SeriesTime": "153000"}, {**LATER, "SeriesTime": "153000"}],
    "earliest slice": [{"SeriesTime": "153000", "FrameReferenceTime": None}],
    "GE": [{"SeriesTime": "153000", suv_header.GE_SCAN_DATETIME: "20240102100217.00"}],
    "administered": [{"DecayCorrection": "ADMIN"}],
    "uncorrected": [{"DecayCorrection": "NONE"}, {**LATER, "DecayCorrection": "NONE"}],
    "Philips SUV": [{"Units": "CNTS", suv_header.PHILIPS_SUV_FACTOR: 0.000728}],
    "Philips Bq/ml": [{"Units": "CNTS", suv_header.PHILIPS_BQML_FACTOR: f} for f in (3.0, 3.5)],
    "CPS": [{"Units": "CPS", "DoseCalibrationFactor": 7}],
    **{
        f"stored {kind} {sex}": [{"Units": "GML", "SUVType": kind, "PatientSex": sex}]
        for kind in ("BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW", "BSA")
        for sex in "MFO"
    },
}
# Of the made-up scan, in voxels: the ellipsoids' centres and radii, the spheres' and their uptake.
BODY = {"soft tissue": ((12, 16, 16), (10, 11, 14)), "liver": ((13, 16, 16), (7, 7, 8))}
SPHERES = (((9, 13, 12), 3, 8.0), ((15, 19, 21), 2, 5.0))


def of_array(values: Any) -> dict[str, Any]:
    """Hash the bytes of an array with its type and shape; mean and standard deviation beside it."""
    array = np.ascontiguousarray(values)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode() + array.tobytes())
    shown = {"mean": array.mean(dtype=np.float64), "std": array.std(dtype=np.float64)}
    return {"sha256": digest.hexdigest(), **{k: six_digits(v) for k, v in shown.items()}}


def of_figures(content: Any, **shown: float | None) -> dict[str, Any]:
    """Hash what is JSON-able to the last digit; `shown` are the numbers beside it."""
    text = json.dumps(content, sort_keys=True, default=float)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"sha256": digest, **{name: six_digits(value) for name, value in shown.items()}}


def six_digits(value: float | None) -> float | None:
    """Round for people."""
    return None if value is None else float(f"{value:.6g}")


def warm_body(noise: float = 0.3, seed: int = 0) -> PETImage:
    """Draw a warm body with two hot spheres amid air, its axes as DICOM's, with seeded noise."""
    truth = inside(*BODY["soft tissue"]).astype(float)
    for centre, radius, uptake in SPHERES:
        truth[inside(centre, radius)] = uptake
    grain = np.random.default_rng(seed).normal(0, noise, truth.shape)
    suv = truth + grain * np.sqrt(truth + 0.02)
    return PETImage(suv.astype(np.float32), np.diag([-4.0, -4.0, 4.0, 1.0]))


def inside(centre: Sequence[float], radii: Sequence[float] | float) -> np.ndarray:
    """Mark the voxels of an ellipsoid."""
    index = np.moveaxis(np.indices((40, 36, 32)), 0, -1)
    return np.asarray((((index - centre) / radii) ** 2).sum(-1) < 1)


def denoise() -> Entries:
    """Ask every shipped model for the scan at once and in tiles, and some in other ways."""
    scan = warm_body()
    for name in shipped_models():
        model = load_model(name)
        steps = None if model.method.one_call_gives_mean else FEW
        for way, options in (WAYS["any"] | WAYS.get(name, {})).items():
            result = petdiff.denoise(
                scan, model, steps=steps, precision="float32", device="cpu",
                generator=torch.Generator().manual_seed(1), **options,
            )  # fmt: skip
            yield f"{name}/{way}", of_array(result.image.suv)
            if result.uncertainty is not None:
                yield f"{name}/{way}/uncertainty", of_array(result.uncertainty.suv)


def simulate() -> Entries:
    """Scan a patient on scanners of each motion, then the labels of the last as a label map."""
    asked: dict[str, Any] = {"dose_factors": (20,), "voxel_mm": 7.0, "threads": 1}
    for scanner, tracer, extent in SIMULATE:
        study = petdiff.simulate(13, scanner=scanner, tracer=tracer, extent=extent, **asked)
        yield from of_study(f"{scanner} {tracer} {extent}", study)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.nii.gz")
        petdiff.write(PETImage(study.labels.astype(np.float32), study.full.affine), path)
        study = petdiff.simulate(13, labels=path, names=study.names, **asked)
    yield from of_study("label map", study)


def of_study(name: str, study: Any) -> Entries:
    """Hash a simulation's images and labels, and its patient's description."""
    lows = {f"low 1/{factor:g}": low for factor, low in study.lows.items()}
    for kind, image in {"truth": study.truth, "full": study.full, **lows}.items():
        yield f"{name}/{kind}", of_array(image.suv)
    yield f"{name}/labels", of_array(study.labels)
    content = [study.patient.model_dump(mode="json"), study.prompts]
    yield f"{name}/patient", of_figures(content, prompts=study.prompts)


def slab() -> Entries:
    """Make training volumes as a recipe's supply does, and one as a single scanner's."""
    supply, one_scanner = recipe_volumes(Recipe()), SimulatedPatients(0, "vision600", "psma")
    drawn = {kind: supply(number) for kind, number in SLAB.items()}
    for kind, volumes in (drawn | {"stretch on one scanner": one_scanner(0)}).items():
        yield f"{kind}/full", of_array(volumes.full)
        for factor, low in volumes.lows.items():
            yield f"{kind}/low 1/{factor:.6g}", of_array(low)


def train_methods() -> Entries:
    """Train each method for a few steps on patches of made-up scans, through supply and loop."""
    for name, kind in METHODS.items():
        torch.manual_seed(TRAIN.seed)
        fresh = kind.create(TRAIN.preset)
        trained = fresh.trained
        entries: list[LogEntry] = []
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder, "supply"))
            example = without_networks(fresh).example
            maker = ExampleMaker(store, noisy_bodies, example, PATCH)
            patches = cutter(ExampleSupply(maker, first=0, workers=0), TRAIN, PATCH)
            validation, hooks = Validation(store, [], 1), Hooks(log=entries.append)
            train(fresh, TRAIN, patches, validation, Path(folder), join_group("cpu"), hooks)
        losses = {f"{loss} {one.step}": x for one in entries for loss, x in one.loss.items()}
        yield f"{name}/losses", of_figures(losses, **losses)
        yield f"{name}/weights", of_array(all_weights(trained))
        yield f"{name}/averaged weights", of_array(all_weights(fresh.network))


def noisy_bodies(number: int) -> PairedVolumes:
    """Draw a pair of scans for training, the same for the same number."""
    noises = enumerate((0.1, 0.2, 0.5), start=3 * number)
    full, *lows = (warm_body(noise, seed).suv.clip(0) for seed, noise in noises)
    return PairedVolumes(full, dict(zip((4.0, 20.0), lows, strict=True)))


def all_weights(network: torch.nn.Module) -> np.ndarray:
    """Join all weights and buffers, as float32."""
    return np.concatenate([w.float().numpy().ravel() for w in network.state_dict().values()])


def cohort() -> Entries:
    """Evaluate a cohort in a process of its own, as the command does, and sum it up."""
    asked = Cohort.model_validate(COHORT)
    with tempfile.TemporaryDirectory() as folder:
        done = run_cohort(asked, Path(folder, "run"), work=measure_in_float32)
        for one in done:
            rows = [row for row in one.rows if row.metric != "seconds"]
            for (dose, method), group in groupby(rows, lambda row: (row.dose, row.method)):
                figures = [row[2:] for row in group]
                shown = {m: v for m, region, v, _ in figures if (m, region) in SHOWN}
                yield f"{one.exam.name}/1/{dose:g}/{method}", of_figures(figures, **shown)
        summary = summarise(tabulate(done, list(asked.methods)), generator=np.random.default_rng(0))
    content = summary.model_dump(mode="json")
    for part in ("means", "tests"):
        content[part].pop("seconds")
        yield f"summary/{part}", of_figures(content[part])
    readings = [reading for one in done for reading in one.readings]
    yield (
        "readings",
        of_figures([StoredReading.of(reading).model_dump(mode="json") for reading in readings]),
    )
    lesions = summarise_lesions(readings, generator=np.random.default_rng(0))
    yield "summary/lesions", of_figures(lesions, rows=len(lesions))


def measure_in_float32(asked: Cohort, exam: Exam) -> Measured:
    """Measure an exam of a cohort, in the arithmetic of this record."""
    settle_arithmetic()
    return measure_exam(asked, exam)


def suv() -> Entries:
    """Compute the factor of each made-up series, and all its candidates."""
    for kind, slices in SUV.items():
        headers = [suv_header.SliceHeader.from_fields({**HEADER, **changes}) for changes in slices]
        result = suv_from_headers(headers)
        factor = np.asarray(result.factor)
        content = [result.rule, factor.tolist(), dict(result.candidates), result.spread]
        yield kind, of_figures(content, first=factor.flat[0], last=factor.flat[-1])


def metrics() -> Entries:
    """Measure a noisy scan against a good one: whole image, each organ, each lesion."""
    full, low = warm_body(0.05), warm_body(0.3, seed=1)
    labels = np.zeros(full.suv.shape, dtype=np.int32)
    lesions = []
    for number, ellipsoid in enumerate(BODY.values(), start=1):
        labels[inside(*ellipsoid)] = number
    for number, (centre, radius, uptake) in enumerate(SPHERES, start=1):
        at_mm = (full.affine @ [*centre, 1])[:3]
        ball = (at_mm, 4.0 * radius, labels.shape, full.affine, uptake)
        lesions.append(sphere_mask(f"lesion {number}", *ball))
    case = prepare(full.suv, full.spacing_mm, labels, dict(enumerate(BODY, start=1)), lesions)
    whole = compare(full.suv, low.suv, case.body)
    yield "whole image", of_figures(whole, **{k: whole[k] for k in ("psnr_db", "ssim", "nrmse")})
    rows = sorted([*case.figures, *measure_scan(case, low.suv)], key=lambda row: row.region)
    for region, group in groupby(rows, lambda row: row.region):
        figures = list(group)
        yield f"rows/{region}", of_figures(figures, **{figures[-1].metric: figures[-1].value})


SECTIONS: dict[str, Callable[[], Entries]] = {
    "denoise": denoise, "simulate": simulate, "slab": slab, "train": train_methods,
    "cohort": cohort, "suv": suv, "metrics": metrics,
}  # fmt: skip


def settle_arithmetic() -> None:
    """Compute in float32 and with one thread, whatever the machine would rather do."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    os.environ[PRECISION_VARIABLE] = "float32"


def differences(now: dict[str, Any], before: dict[str, Any], sections: list[str]) -> list[str]:
    """Say which entries of the sections differ, and how."""
    kept = {name: entry for name, entry in before.items() if name.split("/")[0] in sections}
    return [
        f"{name}: was {in_words(kept.get(name))}, is {in_words(now.get(name))}"
        for name in {**kept, **now}
        if kept.get(name, {}).get("sha256") != now.get(name, {}).get("sha256")
    ]


def in_words(entry: dict[str, Any] | None) -> str:
    """Show an entry's numbers and the head of its hash."""
    if entry is None:
        return "not there"
    numbers = " ".join(f"{name} {value}" for name, value in entry.items() if name != "sha256")
    return f"{entry['sha256'][:10]} {numbers}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write the record to")
    parser.add_argument("--against", type=Path, help="earlier record to compare with")
    options = parser.parse_args()
    sections = options.sections or list(SECTIONS)
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    before = json.loads(options.against.read_text()) if options.against else None
    settle_arithmetic()
    libraries = {library.__name__: library.__version__ for library in (np, scipy, torch)}
    machine = {**libraries, "processor": torch.backends.cpu.get_cpu_capability()}
    print(f"petdiff of {Path(petdiff.__file__).parent}; {machine}")
    entries: dict[str, Any] = {}
    for section in sections:
        start, start_cpu = time.perf_counter(), sum(os.times()[:4])
        for name, entry in SECTIONS[section]():
            entries[f"{section}/{name}"] = entry
            print(f"{section}/{name}: {in_words(entry)}", flush=True)
        wall, processor = time.perf_counter() - start, sum(os.times()[:4]) - start_cpu
        print(f"{section} took {wall:.0f} s, the processor {processor:.0f} s", flush=True)
    if options.output:
        record = {"made with": machine, "entries": entries}
        options.output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    if before is None:
        return
    if before["made with"] != machine:
        print(f"note: the earlier record was made with {before['made with']}")
    found = differences(entries, before["entries"], sections)
    print(*found, f"{len(found)} of {len(entries)} entries differ", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
