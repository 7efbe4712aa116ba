"""A structure: a named shape with tracer uptake and attenuation."""

from __future__ import annotations

from dataclasses import dataclass

from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.shapes.combined import Offset, Rippled
from petdiff.simulation.shapes.random_fields import RandomField
from petdiff.simulation.shapes.signed_distance import Shape

# Linear attenuation at 511 keV, per cm.
MU_PER_CM = {
    "soft": 0.097,
    "fat": 0.090,
    "lung": 0.030,
    "cortical": 0.155,
    "marrow": 0.110,
    "gas": 0.0001,
}


@dataclass(frozen=True)
class Structure:
    """A named shape with uptake and attenuation.

    name           label name
    shape          position and form, in patient mm
    tissue         key of the patient's uptake
    material       key of MU_PER_CM
    texture        relative standard deviation of uptake within the structure
    wavelength_mm  smallest and largest wavelength of that texture
    factor         uptake relative to the tissue's, for structures of one tissue that differ
    suv            uptake; None: that of the tissue
    moves_with_breathing  whether breathing blurs its surface near the diaphragm
    """

    name: str
    shape: Shape
    tissue: str
    material: str = "soft"
    texture: float = 0.06
    wavelength_mm: tuple[float, float] = (12.0, 60.0)
    factor: float = 1.0
    suv: float | None = None
    moves_with_breathing: bool = False


def rippled(patient: Patient, name: str, shape: Shape, sd_mm: float, wavelength_mm: float) -> Shape:
    """Return the shape with a smooth random displacement of its surface, one per patient."""
    rng = patient.stream(f"ripple {name}")
    return Rippled(
        shape, RandomField.random(rng, 10, (wavelength_mm * 0.7, wavelength_mm * 1.6), sd_mm)
    )


def bone(
    name: str, shape: Shape, cortex_mm: float, marrow: str = "marrow", factor: float = 1.0
) -> list[Structure]:
    """Return a bone: a cortex of thickness `cortex_mm` around marrow of the tissue `marrow`."""
    return [
        Structure(name, shape, "cortical_bone", "cortical", 0.05),
        Structure(name, Offset(shape, -cortex_mm), marrow, "marrow", 0.08, factor=factor),
    ]
