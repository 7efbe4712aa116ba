"""Anatomy: from a patient's description to activity, attenuation and labels on any grid."""

from petdiff.simulation.anatomy.build import patient_grid, structures
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.render import Phantom, render
from petdiff.simulation.shapes.grid import Grid

__all__ = ["NAMES", "Grid", "Phantom", "patient_grid", "render", "structures"]
