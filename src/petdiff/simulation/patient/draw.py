"""Draw virtual patients; body, study and lesions have separate random streams."""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np

from petdiff.errors import UsageError
from petdiff.simulation.anatomy.balance import activity_scale, coarse_phantom, fatness_for_weight
from petdiff.simulation.anatomy.description import Lengths, Lesion, Patient, Vector, stream
from petdiff.simulation.anatomy.lesions import draw_lesions
from petdiff.simulation.patient.physiology import Physiology, draw_physiology
from petdiff.simulation.patient.tracers import get_tracer

__all__ = ["EXTENTS", "Lesion", "Patient", "draw_patient"]

EXTENTS = ("total-body", "torso", "head-neck", "thorax", "abdomen", "pelvis")

# Mean height (mm), its standard deviation, and lengths and widths relative to the reference body
# (ICRP 89: man 1760 mm and 73 kg, woman 1630 mm and 60 kg).
HEIGHT_MM = {"male": (1760.0, 70.0), "female": (1630.0, 65.0)}
HEAD = {"male": 1.0, "female": 0.965}
WIDTH = {"male": 1.0, "female": 0.95}
DEPTH = {"male": 1.0, "female": 0.97}
BUILD = {"male": 1.03, "female": 0.985}
LEAN_SIZE = {"male": 1.0, "female": 0.86}
BMI_MEDIAN, BMI_LOG_SD = 24.8, 0.17
HEAD_MM, TRUNK_FRACTION = 270.0, 0.379

# Organ volumes: ratio woman to man (ICRP 89 masses), and standard deviation of the logarithm
# between adults of one size.
ORGAN_VOLUME: dict[str, tuple[float, float]] = {
    "brain": (1300 / 1450, 0.07),
    "heart": (620 / 840, 0.12),
    "liver": (1400 / 1800, 0.14),
    "spleen": (130 / 150, 0.25),
    "kidney_right": (275 / 310, 0.13),
    "kidney_left": (275 / 310, 0.13),
    "pancreas": (120 / 140, 0.18),
    "stomach": (370 / 400, 0.25),
    "small_bowel": (880 / 1000, 0.15),
    "colon": (680 / 670, 0.2),
    "gallbladder": (56 / 68, 0.35),
    "thyroid": (17 / 20, 0.25),
    "adrenal_right": (13 / 14, 0.2),
    "adrenal_left": (13 / 14, 0.2),
    "parotid_right": (41 / 50, 0.18),
    "parotid_left": (41 / 50, 0.18),
    "submandibular_right": (21 / 25, 0.18),
    "submandibular_left": (21 / 25, 0.18),
    "prostate": (1.0, 0.3),
    "uterus": (1.0, 0.3),
}
SIZE_INDEPENDENT = ("brain", "prostate", "uterus")


def draw_patient(
    seed: int, *, tracer: str = "fdg", lesions: bool = True, extent: str = "total-body"
) -> Patient:
    """Return the patient of a seed; the same seed always gives the same description.

    `lesions=False` gives the same patient without lesions. Raises UsageError for an unknown tracer
    or extent.
    """
    get_extent(extent)
    study = draw_physiology(get_tracer(tracer), stream(seed, "study"))
    patient = _draw_body(seed, tracer, extent, study)
    patient = patient.model_copy(update={"fatness": fatness_for_weight(patient)})
    grid, coarse = coarse_phantom(patient)
    patient = patient.model_copy(update={"activity_scale": activity_scale(patient, grid, coarse)})
    drawn = draw_lesions(patient, grid, coarse.labels) if lesions else ()
    return patient.model_copy(update={"lesions": drawn})


def with_uptake(patient: Patient, uptake: dict[str, float]) -> Patient:
    """Return the patient with another SUV per tissue, scaled to about the injected activity.

    Lesions keep their SUV.
    """
    patient = patient.model_copy(update={"uptake": uptake, "activity_scale": 1.0})
    scale = activity_scale(patient, *coarse_phantom(patient))
    return patient.model_copy(update={"activity_scale": scale})


def get_extent(name: str) -> str:
    """Return the extent's name; raise UsageError, with the known names, if there is none."""
    if name in EXTENTS:
        return name
    near = get_close_matches(name.lower(), EXTENTS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"unknown extent {name!r}: {hint}choose one of {', '.join(EXTENTS)}")


def _draw_body(seed: int, tracer: str, extent: str, study: Physiology) -> Patient:
    rng = stream(seed, "body")
    # PSMA is given to men; the other tracers to both.
    sex = "female" if tracer != "psma" and rng.uniform() < 0.5 else "male"
    height = float(np.clip(rng.normal(*HEIGHT_MM[sex]), 1420, 1980))
    bmi = float(np.clip(BMI_MEDIAN * np.exp(rng.normal(0, BMI_LOG_SD)), 16.5, 42))
    weight = bmi * (height / 1000) ** 2
    relative_height, relative_bmi = height / HEIGHT_MM["male"][0], bmi / 23.5
    head_mm = HEAD_MM * HEAD[sex] * _variation(rng, 0.03)
    trunk_mm = (height - head_mm) * float(rng.normal(TRUNK_FRACTION, 0.012))
    volume, shift = _draw_organs(
        rng, sex, relative_height**1.5 * relative_bmi**0.3 / LEAN_SIZE[sex]
    )
    volume["bladder"] = study.bladder
    return Patient(
        seed=seed,
        tracer=tracer,
        extent=extent,
        sex="female" if sex == "female" else "male",
        height_mm=height,
        weight_kg=weight,
        arms="up" if rng.uniform() < 0.5 else "down",
        lengths_mm=Lengths(legs=height - head_mm - trunk_mm, trunk=trunk_mm, head=head_mm),
        width=relative_height**0.8 * relative_bmi**0.28 * WIDTH[sex] * _variation(rng, 0.035),
        depth=relative_height**0.6 * relative_bmi**0.38 * DEPTH[sex] * _variation(rng, 0.045),
        head=HEAD[sex] * _variation(rng, 0.025),
        build=BUILD[sex] * _variation(rng, 0.03),
        fatness=1.0,
        breathing_mm=_breathing_mm(seed),
        volume=volume,
        shift_mm=shift,
        uptake=study.uptake,
        variants=study.variants,
        injected_mbq=study.injected_mbq_per_kg * weight,
        uptake_min=study.uptake_min,
        excreted_fraction=study.excreted_fraction,
    )


def _breathing_mm(seed: int) -> float:
    """Draw the travel of the diaphragm in quiet breathing: typically 8 to 16 mm."""
    rng = stream(seed, "breathing")
    return float(np.clip(11 * np.exp(rng.normal(0, 0.35)), 4, 25))


def _draw_organs(
    rng: np.random.Generator, sex: str, lean_size: float
) -> tuple[dict[str, float], dict[str, Vector]]:
    """Draw each organ's volume ratio, which grows with lean size, and its displacement in mm."""
    volume: dict[str, float] = {}
    shift: dict[str, Vector] = {}
    for name, (woman_over_man, log_sd) in ORGAN_VOLUME.items():
        z = float(np.clip(rng.standard_normal(), -2.2, 2.2))
        size = 1.0 if name in SIZE_INDEPENDENT else lean_size**0.6
        volume[name] = (
            (woman_over_man if sex == "female" else 1.0) * size * float(np.exp(log_sd * z))
        )
        x, y, z = (float(v) for v in rng.normal(0, 4, 3))
        shift[name] = (x, y, z)
    return volume, shift


def _variation(rng: np.random.Generator, sd: float) -> float:
    return float(np.exp(rng.normal(0, sd)))
