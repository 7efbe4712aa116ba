"""Conservation of a drawn patient's body mass and injected activity."""

from __future__ import annotations

import numpy as np

from petdiff.simulation.anatomy.body import body_outline
from petdiff.simulation.anatomy.build import patient_grid
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.render import Phantom, render
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.signed_distance import Samples

# The mean density of the body is that of water within a few per cent.
BODY_KG_PER_L = 1.0
COARSE_MM = 8.0


def coarse_phantom(patient: Patient) -> tuple[Grid, Phantom]:
    """Return the whole body on coarse voxels, which suffice for sums, and their grid."""
    whole = patient.model_copy(update={"extent": "total-body"})
    grid = patient_grid(whole, (COARSE_MM, COARSE_MM, COARSE_MM))
    return grid, render(whole, grid)


def activity_scale(patient: Patient, grid: Grid, phantom: Phantom) -> float:
    """Return the factor for uptake that gives the body the injected less the excreted activity.

    By the definition of SUV: Σ SUV · volume = weight · (1 − excreted) at 1 kg per litre.
    """
    voxel_l = float(np.prod(grid.voxel_mm)) * 1e-6
    activity_suv_l = float(phantom.activity_suv.sum(dtype=np.float64)) * voxel_l
    return patient.weight_kg * (1 - patient.excreted_fraction) / activity_suv_l


def fatness_for_weight(patient: Patient) -> float:
    """Return the thickness of subcutaneous fat that gives the patient's weight.

    It is relative to the reference body's, and found by regula falsi within plausible limits.
    """
    low_fatness, high_fatness = 0.25, 3.5
    target_volume_l = patient.weight_kg / BODY_KG_PER_L
    low_volume_l = body_volume_l(patient, low_fatness)
    high_volume_l = body_volume_l(patient, high_fatness)
    fatness = low_fatness
    for _ in range(4):
        difference_l = high_volume_l - low_volume_l
        step = (target_volume_l - low_volume_l) / difference_l * (high_fatness - low_fatness)
        fatness = float(np.clip(low_fatness + step, 0.1, 4.5))
        volume_l = body_volume_l(patient, fatness)
        if volume_l < target_volume_l:
            low_fatness, low_volume_l = fatness, volume_l
        else:
            high_fatness, high_volume_l = fatness, volume_l
    return fatness


def body_volume_l(patient: Patient, fatness: float) -> float:
    """Return the volume inside the skin at a fatness, from 12 mm voxels with soft edges."""
    outline = body_outline(Frame(patient.model_copy(update={"fatness": fatness})), "skin")
    low, high = outline.bounds
    step = 12.0
    axes = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
    x, y, z = (a.astype(np.float32) for a in np.meshgrid(*axes, indexing="ij"))
    distance = outline.distance(Samples(low, (step, step, step), (x, y, z), step))
    return float(np.clip(0.5 - distance / step, 0, 1).sum()) * step**3 * 1e-6
