"""Makes a drawn patient obey two balances: the body's mass, and the activity that was injected."""

from __future__ import annotations

import numpy as np

from petdiff.clinic.anatomy.body import body_outline
from petdiff.clinic.anatomy.frame import Frame
from petdiff.clinic.anatomy.render import patient_grid, render
from petdiff.clinic.implicit import Samples
from petdiff.clinic.patient import Patient

BODY_KG_PER_L = 1.0  # lungs float, bones sink: a person's mean density is that of water within 3 %


def balanced(patient: Patient) -> Patient:
    """The patient with the fat that its weight asks for, and uptake scaled so that the body holds
    what was injected less what was excreted."""
    patient = patient.model_copy(update={"fatness": _fatness(patient)})
    whole = patient.model_copy(update={"extent": "total-body"})
    phantom = render(whole, patient_grid(whole, (8.0, 8.0, 8.0)))
    held = (
        float(phantom.activity_suv.sum(dtype=np.float64)) * 0.512e-3
    )  # 512 mm³ a voxel, in SUV · l
    scale = patient.weight_kg * (1 - patient.excreted_fraction) / held
    return patient.model_copy(update={"activity_scale": float(scale)})


def _fatness(patient: Patient) -> float:
    """Solves volume(fatness) = weight by regula falsi; the outline is cheap on coarse voxels."""
    low, high = 0.2, 3.5
    wanted = patient.weight_kg / BODY_KG_PER_L
    v_low, v_high = _volume_l(patient, low), _volume_l(patient, high)
    guess = low
    for _ in range(4):
        guess = float(np.clip(low + (wanted - v_low) / (v_high - v_low) * (high - low), 0.1, 4.5))
        volume = _volume_l(patient, guess)
        if volume < wanted:
            low, v_low = guess, volume
        else:
            high, v_high = guess, volume
    return guess


def _volume_l(patient: Patient, fatness: float) -> float:
    outline = body_outline(Frame(patient.model_copy(update={"fatness": fatness})), "skin")
    low, high = outline.bounds
    step = 12.0
    x, y, z = (np.arange(a, b + step, step) for a, b in zip(low, high, strict=True))
    points = tuple(a.astype(np.float32) for a in np.meshgrid(x, y, z, indexing="ij"))
    distance = outline.distance(Samples((x, y, z), points, step))  # type: ignore[arg-type]
    return float(np.clip(0.5 - distance / step, 0, 1).sum()) * step**3 * 1e-6
