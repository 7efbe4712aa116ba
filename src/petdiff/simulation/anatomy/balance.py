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

# A person's mean density is that of water within a few per cent.
BODY_KG_PER_L = 1.0
COARSE_MM = 8.0


def coarse_phantom(patient: Patient) -> tuple[Grid, Phantom]:
    """Return the whole body on voxels just fine enough for sums, with their grid."""
    whole = patient.model_copy(update={"extent": "total-body"})
    grid = patient_grid(whole, (COARSE_MM, COARSE_MM, COARSE_MM))
    return grid, render(whole, grid)


def activity_scale(patient: Patient, grid: Grid, phantom: Phantom) -> float:
    """Return the factor for uptake at which the body holds the injected less the excreted activity.

    By the definition of SUV: Σ SUV · volume = weight · (1 − excreted) at 1 kg per litre.
    """
    litres = float(np.prod(grid.voxel_mm)) * 1e-6
    held = float(phantom.activity_suv.sum(dtype=np.float64)) * litres
    return patient.weight_kg * (1 - patient.excreted_fraction) / held


def fatness_for_weight(patient: Patient) -> float:
    """Return the thickness of subcutaneous fat, relative to the reference body's, for the weight.

    The body then has the volume of its weight (regula falsi, limited to possible bodies).
    """
    thin, thick = 0.25, 3.5
    wanted = patient.weight_kg / BODY_KG_PER_L
    little, much = body_volume_l(patient, thin), body_volume_l(patient, thick)
    guess = thin
    for _ in range(4):
        guess = float(
            np.clip(thin + (wanted - little) / (much - little) * (thick - thin), 0.1, 4.5)
        )
        volume = body_volume_l(patient, guess)
        if volume < wanted:
            thin, little = guess, volume
        else:
            thick, much = guess, volume
    return guess


def body_volume_l(patient: Patient, fatness: float) -> float:
    """Return the litres inside the skin at a given fatness, on voxels of 12 mm with soft edges."""
    outline = body_outline(Frame(patient.model_copy(update={"fatness": fatness})), "skin")
    low, high = outline.bounds
    step = 12.0
    axes = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
    x, y, z = (a.astype(np.float32) for a in np.meshgrid(*axes, indexing="ij"))
    distance = outline.distance(Samples(low, (step, step, step), (x, y, z), step))
    return float(np.clip(0.5 - distance / step, 0, 1).sum()) * step**3 * 1e-6
