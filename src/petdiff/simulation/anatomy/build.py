"""All structures of a patient, in drawing order."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType

from petdiff.simulation.anatomy.abdomen import abdomen, abdominal_fat, cavity, kidneys
from petdiff.simulation.anatomy.body import layers
from petdiff.simulation.anatomy.bowel import bowel
from petdiff.simulation.anatomy.brain import brain
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.head import head
from petdiff.simulation.anatomy.limbs import limbs
from petdiff.simulation.anatomy.muscles import muscle_groups
from petdiff.simulation.anatomy.pelvis import pelvis
from petdiff.simulation.anatomy.spine import back_muscles, brown_fat, chest, spine
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.anatomy.thorax import lungs, rib_cage, thorax
from petdiff.simulation.anatomy.vessels import vessels
from petdiff.simulation.shapes.combined import Cached, Union
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.signed_distance import Triple

# Reference heights of the lower and upper end of each extent.
EXTENT_HEIGHTS_MM = MappingProxyType(
    {
        "torso": (640.0, 1790.0),
        "head-neck": (1430.0, 1790.0),
        "thorax": (1180.0, 1500.0),
        "abdomen": (1000.0, 1300.0),
        "pelvis": (830.0, 1090.0),
    }
)


def structures(patient: Patient) -> tuple[Structure, ...]:
    """Return all structures of the patient except lesions, in drawing order, outline first."""
    return _structures(patient.model_copy(update={"lesions": ()}).model_dump_json())


@lru_cache(maxsize=8)
def _structures(description: str) -> tuple[Structure, ...]:
    frame = Frame(Patient.model_validate_json(description))
    cage = Cached(rib_cage(frame))
    wall = Cached(Union([cage, cavity(frame)], blend_mm=8))
    skin, fat, muscle, *glands = layers(frame)
    return (
        *(skin, fat, muscle),
        *muscle_groups(frame, muscle.shape),
        *glands,
        *lungs(frame, cage),
        *abdominal_fat(frame, cage),
        *back_muscles(frame),
        *brown_fat(frame),
        *spine(frame),
        *chest(frame),
        *limbs(frame),
        *thorax(frame),
        *vessels(frame),
        *head(frame),
        *brain(frame),
        *kidneys(frame),
        *bowel(frame, wall),
        *abdomen(frame, wall),
        *pelvis(frame),
    )


def patient_grid(patient: Patient, voxel_mm: Triple, margin_mm: float = 20.0) -> Grid:
    """Return the grid that contains the patient's extent, with a margin of air."""
    low, high = structures(patient)[0].shape.bounds
    bottom, top = low[2] - margin_mm, high[2] + margin_mm
    if patient.extent != "total-body":
        frame = Frame(patient)
        bottom, top = (float(frame.z(z)) for z in EXTENT_HEIGHTS_MM[patient.extent])
    x, y = (max(-low[n], high[n]) + margin_mm for n in (0, 1))
    return Grid.around((-x, -y, bottom), (x, y, top), voxel_mm)
