"""The brain: cerebrum with a folded cortex, deep nuclei, ventricles, cerebellum, brainstem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petdiff.simulation.anatomy.frame import Frame, rotation
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.shapes.combined import Intersection, Offset, Union
from petdiff.simulation.shapes.random_fields import FloatArray, RandomField
from petdiff.simulation.shapes.signed_distance import Bounds, Samples, Shape

BRAIN_MM = (0.0, 2.0, 1665.0)


@dataclass(frozen=True, eq=False)
class WhiteMatter:
    """The part of the cerebrum that is not cortex.

    The cortex covers the surface and both sides of the midline. It also lines the sulci. They are
    the surfaces where a random field with a narrow range of wavelengths is zero, and resemble the
    folds of real gyri. The cortex of a sulcus becomes thinner with depth. Distances to the surfaces
    are first-order approximations, so that edges are as soft as those of other structures.
    """

    cerebrum: Shape
    folds: RandomField
    cortex_mm: float = 4.2
    sulcus_depth_mm: float = 32.0  # depth of the sulci
    sulcus_half_width_mm: float = 4.6  # half the width of a sulcus and its cortex at the surface

    @property
    def bounds(self) -> Bounds:
        return self.cerebrum.bounds

    def distance(self, at: Samples) -> FloatArray:
        outer = self.cerebrum.distance(at)
        distance = self.folds.on(at.axes_mm)
        np.abs(distance, out=distance)
        # Minus the distance in mm to the surface where the field is zero.
        distance *= np.float32(-1 / self._slope_per_mm)
        distance += np.float32(self.sulcus_half_width_mm)
        distance += outer * np.float32(self.sulcus_half_width_mm / self.sulcus_depth_mm)
        outer += np.float32(self.cortex_mm)
        np.maximum(distance, outer, out=distance)
        midline = np.float32(self.cortex_mm) - np.abs(at.points[0])
        np.maximum(distance, midline, out=distance)
        return distance

    @property
    def _slope_per_mm(self) -> float:
        """Return the root mean square of the field's gradient."""
        squares = (self.folds.amplitude**2)[:, None] * self.folds.k_per_mm**2
        return float(np.sqrt(squares.sum() / 2))


def cranium(frame: Frame) -> Shape:
    """Return the inside of the skull."""
    organ = frame.organ("brain", BRAIN_MM)
    upper = organ.ellipsoid((0, 2, 1668), (67, 85, 66))
    back = organ.ellipsoid((0, -34, 1628), (52, 42, 32))
    front = organ.ellipsoid((0, 20, 1640), (58, 58, 36))
    return Union([upper, back, front], blend_mm=14)


def brain(frame: Frame) -> list[Structure]:
    """Return grey and white matter, nuclei, ventricles, cerebellum, brainstem and pituitary."""
    organ = frame.organ("brain", BRAIN_MM)
    upper = organ.ellipsoid((0, 2, 1676), (66, 83, 58))
    temporal = [organ.ellipsoid((side * 36, 22, 1636), (22, 44, 24)) for side in (1, -1)]
    frontal = organ.ellipsoid((0, 42, 1648), (46, 34, 22))
    cerebrum = Union([Intersection(cranium(frame), upper), frontal, *temporal], blend_mm=8)
    folds = RandomField.random(frame.patient.stream("cortex"), 60, (24, 36), 1.0)
    brainstem = organ.tube([(0, -2, 1648), (0, -12, 1625), (0, -16, 1602)], [14, 13, 7])
    cerebellum = organ.ellipsoid((0, -42, 1626), (48, 31, 24), rotation(x=8))
    fissure = organ.ellipsoid((0, 2, 1700), (1.6, 76, 34))
    return [
        Structure("cerebrum_grey", Offset(cerebrum, -1), "grey_matter", texture=0.07),
        Structure("cerebrum_white", WhiteMatter(cerebrum, folds), "white_matter", texture=0.05),
        Structure("cerebrospinal_fluid", fissure, "cerebrospinal_fluid"),
        Structure("cerebellum", cerebellum, "cerebellum", texture=0.08),
        Structure("brainstem", brainstem, "brainstem"),
        Structure("pituitary", organ.ellipsoid((0, 16, 1628), (6, 5, 4)), "pituitary"),
        *_deep(frame),
    ]


def _deep(frame: Frame) -> list[Structure]:
    organ = frame.organ("brain", BRAIN_MM)
    nuclei: list[Shape] = []
    horns: list[Shape] = []
    for s in (1, -1):
        caudate = [(s * 12, 30, 1676), (s * 16, 12, 1690), (s * 18, -10, 1690)]
        horn = [(s * 7, 30, 1684), (s * 8, 4, 1694), (s * 16, -24, 1684), (s * 20, -44, 1674)]
        nuclei += [
            organ.ellipsoid((s * 24, 16, 1670), (8, 19, 11), rotation(z=s * -12)),  # putamen
            organ.ellipsoid((s * 12, -8, 1672), (9, 15, 10)),  # thalamus
            organ.tube(caudate, [6, 5, 4]),
        ]
        horns.append(organ.tube(horn, [5, 5, 6, 4]))
    return [
        Structure("deep_nuclei", Union(nuclei), "deep_grey"),
        Structure("ventricles", Union(horns), "cerebrospinal_fluid"),
    ]
