"""The anatomy: from a patient's description to activity, attenuation and labels on any grid."""

from petdiff.clinic.anatomy.render import (
    NAMES,
    Grid,
    Phantom,
    patient_grid,
    render,
    structures,
)

__all__ = ["NAMES", "Grid", "Phantom", "patient_grid", "render", "structures"]
