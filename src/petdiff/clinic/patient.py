"""A virtual patient as a description: drawn from a seed, kept as JSON, rendered by `anatomy`."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from petdiff.clinic.tracers import Tracer, draw_uptake, get_tracer
from petdiff.errors import UsageError

Vector = tuple[float, float, float]
Sex = Literal["male", "female"]


class Record(BaseModel):
    """What every description shares: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lesion(Record):
    """A focus of uptake; radius_mm is that of the sphere of equal volume, suv its mean."""

    centre_mm: Vector
    radius_mm: float
    suv: float
    organ: str
    shape: Literal["round", "lobed", "cold-centre"] = "round"
    seed: int = 0


class Lengths(Record):
    """Of legs (soles to hip), trunk (hip to C7) and head with neck, in mm."""

    legs: float
    trunk: float
    head: float


class Patient(Record):
    """Everything that makes one patient and one tracer study, in patient millimetres and SUV.

    width, depth, head   scales of the trunk and the head against the reference body
    fatness              thickness of subcutaneous fat against the reference body
    volume, shift_mm     organs' volume ratio and displacement against the reference body
    uptake               SUV per tissue, before `activity_scale`
    activity_scale       makes the mean SUV of the body equal to what was not excreted
    """

    seed: int
    tracer: str
    extent: str
    sex: Sex
    height_mm: float
    weight_kg: float
    arms: Literal["up", "down"]
    lengths_mm: Lengths
    width: float
    depth: float
    head: float
    fatness: float
    volume: dict[str, float]
    shift_mm: dict[str, Vector]
    uptake: dict[str, float]
    variants: tuple[str, ...]
    injected_mbq: float
    uptake_min: float
    excreted_fraction: float
    activity_scale: float = 1.0
    lesions: tuple[Lesion, ...] = ()

    @property
    def bmi(self) -> float:
        return self.weight_kg / (self.height_mm / 1000) ** 2

    def stream(self, name: str) -> np.random.Generator:
        """The random stream that belongs to one part of this patient, whatever else is drawn."""
        return stream(self.seed, name)


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each name, so that one draw never moves another."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


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
    study = get_tracer(tracer)
    patient = _with_study(_draw_body(seed, tracer, extent), study)
    from petdiff.clinic.anatomy.balance import balanced

    patient = balanced(patient)
    if lesions:
        from petdiff.clinic.lesions import draw_lesions

        patient = patient.model_copy(update={"lesions": draw_lesions(patient)})
    return patient


def _draw_body(seed: int, tracer: str, extent: str) -> Patient:
    rng = stream(seed, "body")
    female = tracer != "psma" and bool(rng.uniform() < 0.5)
    height = float(np.clip(rng.normal(1630 if female else 1760, 67), 1420, 1980))
    bmi = float(np.clip(24.8 * np.exp(rng.normal(0, 0.17)), 16.5, 42))
    head = 270 * float(np.exp(rng.normal(-0.035 if female else 0, 0.03)))
    trunk_share = float(rng.normal(0.379 if female else 0.379, 0.012))
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
        fatness=1.0,
        volume=volume,
        shift_mm=shift,
        uptake={},
        variants=(),
        injected_mbq=0.0,
        uptake_min=60.0,
        excreted_fraction=0.0,
    )


def _vector(values: np.ndarray) -> Vector:
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
