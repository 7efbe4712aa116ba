"""The anatomy: from a patient's description to activity, attenuation and labels on any grid."""

from petdiff.clinic.anatomy.build import patient_grid, structures
from petdiff.clinic.anatomy.grid import Grid
from petdiff.clinic.anatomy.names import NAMES
from petdiff.clinic.anatomy.render import Phantom, render

__all__ = ["NAMES", "Grid", "Phantom", "patient_grid", "render", "structures"]
