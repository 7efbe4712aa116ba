"""Draws virtual patients: body, study, lesions, each from its own random stream."""

from __future__ import annotations

import numpy as np

from petdiff.clinic.anatomy.balance import activity_scale, coarse_phantom, fatness_for_weight
from petdiff.clinic.description import Lengths, Lesion, Patient, Vector, stream
from petdiff.clinic.lesions import draw_lesions
from petdiff.clinic.tracers import Tracer, draw_uptake, get_tracer
from petdiff.clinic.waves import FloatArray
from petdiff.errors import UsageError

__all__ = ["EXTENTS", "Lesion", "Patient", "draw_patient"]

# Reference volumes, woman over man (ICRP 89 masses), and spread of the logarithm between adults.
ORGAN_VOLUME: dict[str, tuple[float, float]] = {
    "brain": (1300 / 1450, 0.08),
    "heart": (620 / 840, 0.12),
    "liver": (1400 / 1800, 0.15),
    "spleen": (130 / 150, 0.25),
    "kidney_right": (275 / 310, 0.14),
    "kidney_left": (275 / 310, 0.14),
    "pancreas": (120 / 140, 0.18),
    "stomach": (0.92, 0.25),
    "gallbladder": (0.83, 0.35),
    "thyroid": (17 / 20, 0.25),
    "adrenal_right": (0.93, 0.2),
    "adrenal_left": (0.93, 0.2),
    "parotid_right": (0.82, 0.18),
    "parotid_left": (0.82, 0.18),
    "submandibular_right": (0.84, 0.18),
    "submandibular_left": (0.84, 0.18),
    "bladder": (1.0, 0.5),
    "prostate": (1.0, 0.3),
    "uterus": (1.0, 0.3),
}
EXTENTS = ("total-body", "torso", "head-neck", "thorax", "abdomen", "pelvis")


def draw_patient(
    seed: int, *, tracer: str = "fdg", lesions: bool = True, extent: str = "total-body"
) -> Patient:
    """A patient for a seed: the same description every time, and the same but for its lesions with
    `lesions=False`. Raises UsageError for an unknown tracer or extent."""
    if extent not in EXTENTS:
        raise UsageError(f"unknown extent {extent!r}: choose one of {', '.join(EXTENTS)}")
    patient = _with_study(_draw_body(seed, tracer, extent), get_tracer(tracer))
    patient = patient.model_copy(update={"fatness": fatness_for_weight(patient)})
    grid, coarse = coarse_phantom(patient)
    patient = patient.model_copy(update={"activity_scale": activity_scale(patient, grid, coarse)})
    found = draw_lesions(patient, grid, coarse.labels) if lesions else ()
    return patient.model_copy(update={"lesions": found})


def _draw_body(seed: int, tracer: str, extent: str) -> Patient:
    rng = stream(seed, "body")
    female = tracer != "psma" and bool(rng.uniform() < 0.5)
    height = float(np.clip(rng.normal(1630 if female else 1760, 67), 1420, 1980))
    bmi = float(np.clip(24.8 * np.exp(rng.normal(0, 0.17)), 16.5, 42))
    head = 270 * float(np.exp(rng.normal(-0.035 if female else 0, 0.03)))
    trunk_share = float(rng.normal(0.379, 0.012))
    trunk = (height - head) * trunk_share
    stature = height / 1760
    width = stature**0.8 * (bmi / 23.5) ** 0.28 * float(np.exp(rng.normal(0, 0.035)))
    depth = stature**0.6 * (bmi / 23.5) ** 0.38 * float(np.exp(rng.normal(0, 0.045)))
    lean = stature**1.5 * (bmi / 23.5) ** 0.3
    volume, shift = {}, {}
    for name, (ratio, spread) in ORGAN_VOLUME.items():
        z = float(np.clip(rng.standard_normal(), -2.2, 2.2))
        size = 1.0 if name in ("brain", "bladder") else lean / (0.86 if female else 1.0)
        volume[name] = float((ratio if female else 1.0) * size**0.6 * np.exp(spread * z))
        shift[name] = _vector(rng.normal(0, 4, 3))
    return Patient(
        seed=seed,
        tracer=tracer,
        extent=extent,
        sex="female" if female else "male",
        height_mm=height,
        weight_kg=bmi * (height / 1000) ** 2,
        arms="up" if rng.uniform() < 0.5 else "down",
        lengths_mm=Lengths(legs=height - head - trunk, trunk=trunk, head=head),
        width=width * (0.95 if female else 1.0),
        depth=depth * (0.97 if female else 1.0),
        head=float(np.exp(rng.normal(-0.035 if female else 0, 0.025))),
        build=float(np.exp(rng.normal(-0.015 if female else 0.03, 0.03))),
        fatness=1.0,
        volume=volume,
        shift_mm=shift,
        uptake={},
        variants=(),
        injected_mbq=0.0,
        uptake_min=60.0,
        excreted_fraction=0.0,
    )


def _vector(values: FloatArray) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _with_study(patient: Patient, tracer: Tracer) -> Patient:
    """Adds dose, timing, uptake and physiological variants."""
    rng = patient.stream("study")
    uptake = draw_uptake(tracer, rng)
    variants = []
    per_kg = max(0.5, rng.normal(*tracer.injected_mbq_per_kg))
    if tracer.label == "18F-FDG":
        if rng.uniform() < 0.4:
            variants.append("fasting-myocardium")
            uptake["myocardium"] = float(rng.uniform(1.0, 1.8))
        if rng.uniform() < 0.07:
            variants.append("brown-fat")
            uptake["brown_fat"] = float(np.clip(np.exp(rng.normal(1.6, 0.5)), 2, 14))
        if rng.uniform() < 0.15:
            variants.append("hot-bowel")
            factor = float(rng.uniform(2.5, 7))
            for tissue in ("colon", "bowel_contents", "rectum"):
                uptake[tissue] *= factor
    return patient.model_copy(
        update={
            "uptake": uptake,
            "variants": tuple(variants),
            "injected_mbq": float(per_kg * patient.weight_kg),
            "uptake_min": float(np.clip(rng.normal(64, 6), 45, 100)),
            "excreted_fraction": float(np.clip(rng.normal(*tracer.excreted), 0.02, 0.45)),
        }
    )
