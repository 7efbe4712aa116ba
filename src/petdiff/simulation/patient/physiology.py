"""One tracer study of one patient: activity, timing, uptake, and physiological variants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petdiff.simulation.patient.tracers import Tracer, draw_uptake


@dataclass(frozen=True)
class Physiology:
    """The drawn values of one study.

    injected_mbq_per_kg  injected activity per body weight
    uptake_min           minutes from injection to scan
    excreted_fraction    fraction of the activity voided before the scan
    uptake               SUV per tissue
    bladder              volume of the bladder relative to the reference body's
    variants             names of unusual findings
    """

    injected_mbq_per_kg: float
    uptake_min: float
    excreted_fraction: float
    uptake: dict[str, float]
    bladder: float
    variants: tuple[str, ...]


def draw_physiology(tracer: Tracer, rng: np.random.Generator) -> Physiology:
    """Draw one patient's study with that tracer."""
    uptake = draw_uptake(tracer, rng)
    per_kg = max(0.5, rng.normal(*tracer.injected_mbq_per_kg))
    minutes = float(np.clip(rng.normal(64, 6), 45, 100))
    excreted = float(np.clip(rng.normal(*tracer.excreted), 0.02, 0.45))
    bladder = float(np.exp(rng.normal(-0.1, 0.4)))
    variants = []
    if rng.uniform() < 0.12:
        variants.append("full-bladder")
        bladder = float(rng.uniform(1.8, 3.0))
    if tracer.label == "18F-FDG":
        variants += _glucose_variants(uptake, rng)
    return Physiology(float(per_kg), minutes, excreted, uptake, bladder, tuple(variants))


def _glucose_variants(uptake: dict[str, float], rng: np.random.Generator) -> list[str]:
    """Draw variants of FDG uptake: fasting, brown fat, metformin, stimulated marrow.

    Changes `uptake` in place; returns their names.
    """
    variants = []
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
    if rng.uniform() < 0.06:
        variants.append("stimulated-marrow")
        uptake["marrow"] *= float(rng.uniform(2.0, 3.5))
        uptake["spleen"] *= float(rng.uniform(1.2, 1.8))
    return variants
