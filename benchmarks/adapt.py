"""Adapt the default to a scanner that its training never saw, and compare before and after.

    python benchmarks/adapt.py simulate OUT               the site's full-dose scans: OUT/scans
    python benchmarks/adapt.py train OUT [--seconds S]    fine-tune on them alone: OUT/run
    python benchmarks/adapt.py compare OUT                scores on true low-dose scans: OUT/twins

The site is an mCT Flow with ten patients, every tracer in turn. It gives only their full-dose
scans. Four more of its patients, and one on each scanner of the training, have true low-dose scans
at 1/4 and 1/20, on which nothing is trained. All are abdomens in voxels of 4 mm. A step that was
stopped continues. `compare` prints PSNR and the change of SUVpeak in lesions, before and after
adapting: on true low-dose scans, and on the same full-dose scans thinned.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from petdiff.errors import InputRefused
from petdiff.evaluation.metrics import psnr
from petdiff.evaluation.weighted_mask import WeightedMask, measure_mask, sphere_mask
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.io import write
from petdiff.methods.model import Model, load_model
from petdiff.progress import Progress
from petdiff.runs import whole_file
from petdiff.simulation.study import Simulation, simulate
from petdiff.thinning.thin import MeasuredScan
from petdiff.training.recipe import Recipe
from petdiff.training.run import TrainOptions, train
from petdiff.volume.regions import body_mask

SITE = "mct-flow"
TRACERS = ("fdg", "psma", "dotatate", "fapi")
PATIENTS, FIRST_SEED = 10, 571_000
EXTENT, VOXEL_MM = "abdomen", 4.0
DOSES = (4.0, 20.0)
METRICS = ("psnr_db", "suv_peak_bias", "suv_peak_error")
# Patients with true low-dose scans: where, seed, scanner and tracer.
TWINS = (
    *(("site", 572_000 + n, SITE, tracer) for n, tracer in enumerate(TRACERS)),
    ("others", 573_000, "quadra", "fdg"),
    ("others", 573_001, "uexplorer", "psma"),
    ("others", 573_002, "vision600", "dotatate"),
    ("others", 573_003, "discovery-mi", "fapi"),
)

Scores = dict[str, dict[str, float]]  # by dose, and by name of the figure


def simulate_site(out: Path) -> None:
    """Write a full-dose scan per patient, as a site would export it."""
    (out / "scans").mkdir(parents=True, exist_ok=True)
    for n in range(PATIENTS):
        file = out / "scans" / f"patient{n:02d}.nii.gz"
        if file.exists():
            continue
        study = abdomen(FIRST_SEED + n, SITE, TRACERS[n % len(TRACERS)], DOSES[:1])
        write(study.full, file)
        print(file, flush=True)


def abdomen(seed: int, scanner: str, tracer: str, doses: Sequence[float]) -> Simulation:
    """Return the simulated abdomen of a patient."""
    return simulate(
        seed, scanner=scanner, tracer=tracer, dose_factors=doses, voxel_mm=VOXEL_MM, extent=EXTENT
    )


def adapt(out: Path, seconds: float, volumes: str) -> None:
    """Fine-tune the default on the site's scans with the recipe's defaults."""
    recipe = Recipe(init="flow3d", seed=2029, seconds=seconds, volume_cache=volumes)
    options = TrainOptions(
        output=out / "run", data=out / "scans", recipe=recipe, resume=True, device="cpu"
    )
    print(train(options, progress=Progress()))


class Twin(NamedTuple):
    """A full-dose scan, true low-dose ones by dose reduction factor, and the lesions."""

    full: PETImage
    lows: dict[float, PETImage]
    lesions: list[WeightedMask]


def read_twin(file: Path, seed: int, scanner: str, tracer: str) -> Twin:
    """Return a patient's scans from a file; if there is none, simulate the patient and write it."""
    if not file.exists():
        study = abdomen(seed, scanner, tracer, DOSES)
        volumes = [study.full.values, *(study.lows[drf].values for drf in DOSES)]
        drawn = [[*one.centre_mm, one.radius_mm] for one in study.patient.lesions]
        places = np.array(drawn).reshape(-1, 4)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file, replace=True) as unfinished, unfinished.open("wb") as stream:
            np.savez(stream, *volumes, affine=study.full.affine, places=places)
    with np.load(file) as stored:
        affine = stored["affine"]
        full, *lows = (PETImage(stored[f"arr_{n}"], affine) for n in range(1 + len(DOSES)))
        lesions = []
        for *centre_mm, radius_mm in stored["places"].tolist():
            try:
                lesions.append(sphere_mask("lesion", centre_mm, radius_mm, full.shape, affine))
            except InputRefused:  # outside the field of view by half or more
                continue
    return Twin(full, dict(zip(DOSES, lows, strict=True)), lesions)


def score(twin: Twin, denoised: PETImage) -> dict[str, float]:
    """Return PSNR, and the mean change of SUVpeak over lesions and of its absolute value, in %."""
    full = twin.full
    body = body_mask(full.suv, full.spacing_mm)
    changes = []
    for lesion in twin.lesions:
        before, after = (
            measure_mask(lesion, one.suv, full.spacing_mm, contour=False)["suv_peak"]
            for one in (full, denoised)
        )
        assert before is not None
        assert after is not None
        changes.append(100 * (after / before - 1))
    decibels = psnr(full.suv, denoised.suv, float(full.suv.max()), body)
    assert decibels is not None
    return {
        "psnr_db": decibels,
        "suv_peak_bias": float(np.mean(changes)) if changes else math.nan,
        "suv_peak_error": float(np.mean(np.abs(changes))) if changes else math.nan,
    }


def scores(file: Path, twin: Twin, model: Model) -> Scores:
    """Return the scores of a model's denoised scans by dose, which are stored beside `file`.

    "1/4": the model is not given the dose; "1/4, told": it is; "1/4, thinned": its input is the
    thinned full-dose scan
    """
    stored = file.with_name(f"{file.stem}-{model.sha256[:12]}.json")
    if not stored.exists():
        found, measured = {}, MeasuredScan(twin.full)
        for drf, low in twin.lows.items():
            thinned = measured.thinned(drf, seed=1).image
            inputs = {"": (low, None), ", told": (low, drf), ", thinned": (thinned, None)}
            for suffix, (scan, given) in inputs.items():
                denoised = denoise(scan, model, drf=given, device="cpu").image
                found[f"1/{drf:g}{suffix}"] = score(twin, denoised)
        stored.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(stored, flush=True)
    scored: Scores = json.loads(stored.read_text(encoding="utf-8"))
    return scored


def compare(out: Path) -> None:
    """Score the default and the adapted model; print a line per place, dose and figure."""
    adapted = out / "run" / "model.safetensors"
    models = {"before": load_model("flow3d")}
    if adapted.exists():
        models["after"] = load_model(adapted)
    found: dict[str, list[dict[str, Scores]]] = {"site": [], "others": []}
    for where, seed, scanner, tracer in TWINS:
        file = out / "twins" / f"{scanner}-{tracer}-{seed}.npz"
        twin = read_twin(file, seed, scanner, tracer)
        found[where].append({name: scores(file, twin, model) for name, model in models.items()})
    for where, patients in found.items():
        for dose, metric in product(patients[0]["before"], METRICS):
            values = {
                name: np.array([one[name][dose][metric] for one in patients]) for name in models
            }
            means = ", ".join(f"{name} {np.nanmean(v):.2f}" for name, v in values.items())
            changes = values["after"] - values["before"] if "after" in values else []
            each = " ".join(f"{change:+.2f}" for change in changes)
            print(f"{where:7s} {dose:10s} {metric:15s} {means}   each {each}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["simulate", "train", "compare"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=2400, help="of training")
    parser.add_argument("--volumes", default="", help="folder of simulated volumes to share")
    options = parser.parse_args()
    if options.what == "simulate":
        simulate_site(options.out)
    elif options.what == "train":
        adapt(options.out, options.seconds, options.volumes)
    else:
        compare(options.out)


if __name__ == "__main__":
    main()
