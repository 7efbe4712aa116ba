"""Tracers: uptake per tissue, its variation between patients, and excretion.

Values are median SUVs by body weight over patients, one hour after injection. Variation is the
standard deviation of the logarithm of SUV. The values are within the usual ranges of the
literature, and chosen so that a drawn population resembles a clinical one. This project did not
measure them.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

import numpy as np

from petdiff.errors import UsageError

TracerName = Literal["fdg", "psma", "dotatate", "fapi"]
Uptake = tuple[float, float]  # median SUV, standard deviation of log SUV


@dataclass(frozen=True)
class Tracer:
    """A tracer.

    `injected_mbq_per_kg` and `excreted` (the fraction of the activity voided before the scan) are
    mean and standard deviation over patients. `uptake` is per tissue.
    """

    label: str
    half_life_min: float
    injected_mbq_per_kg: tuple[float, float]
    excreted: tuple[float, float]
    uptake: MappingProxyType[str, Uptake]


# The tissue whose uptake a tissue has if the tracer does not define its own.
UPTAKE_OF = MappingProxyType(
    {
        "skin": "muscle",
        "cartilage": "muscle",
        "cortical_bone": "marrow",
        "yellow_marrow": "fat",
        "cerebrospinal_fluid": "white_matter",
        "deep_grey": "grey_matter",
        "cerebellum": "grey_matter",
        "brainstem": "white_matter",
        "spinal_cord": "white_matter",
        "eye": "muscle",
        "tongue": "muscle",
        "pharynx": "muscle",
        "tonsil": "pharynx",
        "oesophagus": "muscle",
        "thyroid": "blood",
        "thymus": "muscle",
        "airway": "gas",
        "sublingual": "submandibular",
        "submandibular": "parotid",
        "lacrimal": "muscle",
        "pituitary": "grey_matter",
        "adrenal": "liver",
        "duodenum": "small_bowel",
        "gallbladder": "liver",
        "kidney_medulla": "kidney_cortex",
        "ureter": "kidney_pelvis",
        "prostate": "muscle",
        "seminal_vesicle": "prostate",
        "testis": "muscle",
        "penis": "blood",
        "uterus": "muscle",
        "ovary": "uterus",
        "breast": "fat",
        "brown_fat": "fat",
        "rectum": "colon",
        "stomach_contents": "muscle",
        "bowel_contents": "muscle",
    }
)


def _uptake(**values: Uptake) -> MappingProxyType[str, Uptake]:
    return MappingProxyType({"gas": (0.02, 0.0), **values})


TRACERS: MappingProxyType[str, Tracer] = MappingProxyType(
    {
        "fdg": Tracer(
            label="18F-FDG",
            half_life_min=109.8,
            injected_mbq_per_kg=(3.4, 0.35),
            excreted=(0.10, 0.03),
            uptake=_uptake(
                blood=(1.6, 0.15),
                liver=(2.2, 0.16),
                spleen=(1.8, 0.16),
                kidney_cortex=(2.8, 0.2),
                kidney_medulla=(3.4, 0.3),
                kidney_pelvis=(10.0, 0.6),
                ureter=(3.5, 0.8),
                bladder=(18.0, 0.7),
                grey_matter=(10.0, 0.22),
                deep_grey=(11.0, 0.22),
                cerebellum=(8.0, 0.2),
                white_matter=(3.2, 0.2),
                brainstem=(4.5, 0.2),
                cerebrospinal_fluid=(1.0, 0.2),
                spinal_cord=(1.7, 0.2),
                eye=(0.8, 0.2),
                myocardium=(4.0, 0.6),
                parotid=(1.9, 0.25),
                submandibular=(2.1, 0.25),
                tongue=(1.5, 0.3),
                pharynx=(2.0, 0.3),
                tonsil=(3.0, 0.3),
                thyroid=(1.3, 0.3),
                oesophagus=(1.5, 0.2),
                stomach=(1.8, 0.3),
                small_bowel=(1.4, 0.3),
                colon=(1.3, 0.4),
                bowel_contents=(0.9, 0.3),
                stomach_contents=(0.5, 0.3),
                gallbladder=(0.8, 0.3),
                pancreas=(1.5, 0.2),
                adrenal=(1.7, 0.25),
                marrow=(1.3, 0.25),
                cortical_bone=(0.8, 0.25),
                muscle=(0.72, 0.15),
                lung=(0.45, 0.2),
                fat=(0.28, 0.2),
                yellow_marrow=(0.4, 0.25),
                breast=(0.5, 0.3),
                skin=(0.6, 0.2),
                prostate=(1.6, 0.25),
                testis=(2.2, 0.3),
                uterus=(1.7, 0.35),
                ovary=(1.6, 0.3),
                thymus=(0.8, 0.3),
            ),
        ),
        "psma": Tracer(
            label="68Ga-PSMA-11",
            half_life_min=67.7,
            injected_mbq_per_kg=(2.0, 0.3),
            excreted=(0.14, 0.04),
            uptake=_uptake(
                blood=(1.5, 0.2),
                liver=(4.5, 0.3),
                spleen=(6.5, 0.4),
                kidney_cortex=(44.0, 0.3),
                kidney_medulla=(28.0, 0.3),
                kidney_pelvis=(30.0, 0.5),
                ureter=(8.0, 0.7),
                bladder=(22.0, 0.7),
                grey_matter=(0.1, 0.2),
                white_matter=(0.08, 0.2),
                eye=(0.4, 0.2),
                myocardium=(1.0, 0.2),
                parotid=(14.0, 0.35),
                submandibular=(14.5, 0.35),
                sublingual=(6.0, 0.4),
                lacrimal=(7.0, 0.4),
                pharynx=(1.8, 0.3),
                tonsil=(3.0, 0.3),
                stomach=(2.0, 0.3),
                duodenum=(9.0, 0.4),
                small_bowel=(4.0, 0.45),
                colon=(1.6, 0.3),
                bowel_contents=(0.6, 0.3),
                stomach_contents=(0.3, 0.3),
                gallbladder=(2.5, 0.8),
                pancreas=(1.8, 0.25),
                adrenal=(2.5, 0.3),
                marrow=(0.5, 0.25),
                cortical_bone=(0.4, 0.25),
                muscle=(0.5, 0.18),
                lung=(0.35, 0.2),
                fat=(0.25, 0.2),
                prostate=(2.4, 0.3),
                thyroid=(1.2, 0.3),
            ),
        ),
        "dotatate": Tracer(
            label="68Ga-DOTATATE",
            half_life_min=67.7,
            injected_mbq_per_kg=(2.2, 0.3),
            excreted=(0.14, 0.04),
            uptake=_uptake(
                blood=(0.9, 0.2),
                liver=(6.0, 0.3),
                spleen=(22.0, 0.35),
                kidney_cortex=(15.5, 0.3),
                kidney_medulla=(10.0, 0.3),
                kidney_pelvis=(12.0, 0.5),
                ureter=(6.0, 0.7),
                bladder=(15.0, 0.7),
                grey_matter=(0.1, 0.2),
                white_matter=(0.08, 0.2),
                pituitary=(5.0, 0.4),
                myocardium=(0.9, 0.2),
                parotid=(1.8, 0.35),
                submandibular=(2.2, 0.35),
                thyroid=(2.5, 0.4),
                adrenal=(9.0, 0.4),
                stomach=(2.8, 0.35),
                small_bowel=(2.8, 0.35),
                colon=(2.0, 0.3),
                bowel_contents=(0.6, 0.3),
                stomach_contents=(0.4, 0.3),
                pancreas=(4.0, 0.35),
                marrow=(0.7, 0.25),
                cortical_bone=(0.4, 0.25),
                muscle=(0.4, 0.18),
                lung=(0.3, 0.2),
                fat=(0.2, 0.2),
                prostate=(1.6, 0.3),
                uterus=(1.8, 0.3),
                testis=(1.0, 0.3),
            ),
        ),
        "fapi": Tracer(
            label="68Ga-FAPI-46",
            half_life_min=67.7,
            injected_mbq_per_kg=(2.6, 0.4),
            excreted=(0.25, 0.06),
            uptake=_uptake(
                blood=(1.5, 0.2),
                liver=(1.2, 0.3),
                spleen=(1.3, 0.25),
                kidney_cortex=(2.8, 0.25),
                kidney_medulla=(3.0, 0.25),
                kidney_pelvis=(7.0, 0.6),
                ureter=(4.0, 0.7),
                bladder=(13.0, 0.5),
                grey_matter=(0.1, 0.2),
                white_matter=(0.08, 0.2),
                myocardium=(1.4, 0.2),
                parotid=(2.4, 0.3),
                submandibular=(2.8, 0.3),
                pharynx=(1.8, 0.25),
                thyroid=(1.8, 0.4),
                stomach=(1.2, 0.25),
                small_bowel=(1.0, 0.25),
                colon=(1.0, 0.25),
                bowel_contents=(0.5, 0.3),
                stomach_contents=(0.4, 0.3),
                gallbladder=(2.0, 0.7),
                pancreas=(2.3, 0.35),
                adrenal=(1.5, 0.25),
                marrow=(0.8, 0.25),
                cortical_bone=(0.8, 0.25),
                muscle=(1.0, 0.18),
                lung=(0.5, 0.2),
                fat=(0.3, 0.2),
                breast=(0.8, 0.4),
                prostate=(1.8, 0.3),
                uterus=(6.0, 0.45),
                testis=(1.3, 0.3),
            ),
        ),
    }
)


def get_tracer(name: str) -> Tracer:
    """Return the tracer of that name; UsageError lists the known names."""
    try:
        return TRACERS[name]
    except KeyError:
        near = get_close_matches(name.lower(), TRACERS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"unknown tracer {name!r}: {hint}choose one of {', '.join(TRACERS)}"
        ) from None


def median_uptake(tracer: Tracer, tissue: str) -> Uptake:
    """Return the tissue's own uptake, or that of its substitute in UPTAKE_OF."""
    while tissue not in tracer.uptake:
        tissue = UPTAKE_OF[tissue]
    return tracer.uptake[tissue]


def draw_uptake(tracer: Tracer, rng: np.random.Generator) -> dict[str, float]:
    """Draw one patient's SUV per tissue, log-normal around the tracer's medians."""
    tissues = sorted({*tracer.uptake, *UPTAKE_OF})
    drawn = {}
    for tissue in tissues:
        z = float(np.clip(rng.standard_normal(), -2.5, 2.5))
        median, log_sd = median_uptake(tracer, tissue)
        drawn[tissue] = float(median * np.exp(log_sd * z))
    return drawn
