"""Lesions: drawn where each tracer's disease grows, painted last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.clinic.anatomy.names import STRUCTURE_NAMES
from petdiff.clinic.anatomy.render import patient_grid, render
from petdiff.clinic.implicit import Samples
from petdiff.clinic.patient import Lesion, Patient
from petdiff.clinic.waves import Waves

LESION_LABEL = len(STRUCTURE_NAMES)

# Where each tracer's lesions grow: structure name prefix → relative frequency; and SUV range.
SITES: dict[str, dict[str, float]] = {
    "fdg": {"mediastinum": 3, "visceral_fat": 2, "liver": 2, "lung": 3, "vertebrae": 2, "hip": 1, "rib": 1,
            "muscle": 0.5, "colon": 0.5},
    "psma": {"vertebrae": 4, "hip": 3, "rib": 2, "visceral_fat": 3, "prostate": 2, "sacrum": 1, "femur": 1},
    "dotatate": {"liver": 5, "visceral_fat": 3, "vertebrae": 2, "pancreas": 1, "small_bowel": 1, "hip": 1},
    "fapi": {"liver": 2, "visceral_fat": 4, "pancreas": 1, "mediastinum": 1, "lung": 2, "vertebrae": 1,
             "muscle": 0.5},
}  # fmt: skip
SUV_RANGE = {"fdg": (2, 25), "psma": (4, 60), "dotatate": (5, 60), "fapi": (3, 25)}


def draw_lesions(patient: Patient) -> tuple[Lesion, ...]:
    """The patient's lesions, from a stream of their own; none is possible."""
    rng = patient.stream("lesions")
    count = int(min(rng.geometric(0.16) - 1 + (rng.uniform() < 0.85), 40))
    if count == 0:
        return ()
    grid = patient_grid(patient, (6.0, 6.0, 6.0))
    labels = render(patient, grid).labels
    low, high = np.log(SUV_RANGE[patient.tracer])
    found = []
    for _ in range(count):
        organ = _site(patient, labels, rng)
        if organ is None:
            continue
        where = np.argwhere(labels == STRUCTURE_NAMES.index(organ) + 1)
        voxel = where[rng.integers(len(where))] + rng.uniform(-0.5, 0.5, 3)
        x, y, z = (float(o + 6.0 * v) for o, v in zip(grid.origin_mm, voxel, strict=True))
        found.append(
            Lesion(
                centre_mm=(x, y, z),
                radius_mm=float(np.clip(np.exp(rng.normal(1.85, 0.5)), 2, 30)),
                suv=float(np.exp(rng.uniform(low, high))),
                organ=organ,
                shape=rng.choice(["round", "lobed", "cold-centre"], p=[0.5, 0.4, 0.1]),
                seed=int(rng.integers(2**31)),
            )
        )
    return tuple(found)


def _site(patient: Patient, labels: NDArray[Any], rng: np.random.Generator) -> str | None:
    """The name of a structure present in the extent, by the tracer's frequencies."""
    sites = SITES[patient.tracer]
    weights = np.array(list(sites.values()), float)
    prefix = str(rng.choice(list(sites), p=weights / weights.sum()))
    present = np.bincount(labels.ravel(), minlength=LESION_LABEL + 1)
    names = [
        n for n, name in enumerate(STRUCTURE_NAMES, 1) if name.startswith(prefix) and present[n]
    ]
    if not names:
        return None
    share = present[names] / present[names].sum()
    return STRUCTURE_NAMES[int(rng.choice(names, p=share)) - 1]


def paint_lesions(
    patient: Patient,
    samples: Samples,
    softness: np.float32,
    activity: NDArray[Any],
    labels: NDArray[Any],
) -> None:
    """Paints the lesions that touch the samples, over everything else."""
    for lesion in patient.lesions:
        centre, radius = np.array(lesion.centre_mm), lesion.radius_mm
        here = samples.near((centre - 1.8 * radius, centre + 1.8 * radius))
        if here is None:
            continue
        cover, value = _lesion(lesion, samples.part(here), softness)
        activity[here] += cover * (value - activity[here])
        labels[here][cover > 0.5] = LESION_LABEL


def _lesion(lesion: Lesion, at: Samples, softness: np.float32) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y, z = (a - c for a, c in zip(at.axes_mm, lesion.centre_mm, strict=True))
    away = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    radius = lesion.radius_mm
    distance = (away - radius).astype(np.float32)
    rng = np.random.default_rng(lesion.seed)
    if lesion.shape == "lobed":
        lobes = Waves.random(rng, 8, (1.6 * radius, 4 * radius), 0.14 * radius)
        distance += lobes.on(at.axes_mm)
    value = np.full(distance.shape, np.float32(lesion.suv))
    if lesion.shape == "cold-centre":
        cold = np.clip(np.float32(0.5) - (distance + np.float32(0.45 * radius)) * softness, 0, 1)
        value *= 1 - np.float32(0.8) * cold
    return np.clip(np.float32(0.5) - distance * softness, 0, 1), value
