"""The reference body, in whose coordinates anatomy is written, and the map to a patient.

The reference is a man of 1760 mm. x points right, y forward, z up from the soles; x = 0 is the
midline, y = 0 the middle of the trunk's depth. A patient scales it: legs, trunk and head each in
length, trunk and head each in width and depth. Organs keep their proportions, have their own
volume, and lie where the scaled trunk places them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.solids import Ellipsoid, Loft, Tube

HIP_MM, NECK_MM, VERTEX_MM = 925.0, 1490.0, 1760.0  # reference heights above the soles


@dataclass(frozen=True)
class Frame:
    """Maps reference millimetres to a patient's."""

    patient: Patient

    def z(self, z_mm: ArrayLike) -> FloatArray:
        """Return heights in the patient; legs, trunk and head are scaled separately."""
        lengths = self.patient.lengths_mm
        hip, neck = lengths.legs, lengths.legs + lengths.trunk
        known = [-VERTEX_MM, 0.0, HIP_MM, NECK_MM, VERTEX_MM, 2 * VERTEX_MM]
        head_scale = lengths.head / (VERTEX_MM - NECK_MM)
        top = neck + lengths.head
        values = [-VERTEX_MM * hip / HIP_MM, 0.0, hip, neck, top, top + VERTEX_MM * head_scale]
        heights: FloatArray = np.interp(np.asarray(z_mm, float), known, values)
        return heights

    def across(self, z_mm: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the scales of width and depth at a reference height, interpolated at the neck."""
        p = self.patient
        head = np.clip((np.asarray(z_mm, float) - NECK_MM) / 60, 0, 1)
        return p.width + head * (p.head - p.width), p.depth + head * (p.head - p.depth)

    def point(self, p_mm: ArrayLike) -> FloatArray:
        """Return reference points [..., 3] in the patient."""
        p = np.asarray(p_mm, float)
        width, depth = self.across(p[..., 2])
        return np.stack([p[..., 0] * width, p[..., 1] * depth, self.z(p[..., 2])], axis=-1)

    def tube(
        self, line_mm: ArrayLike, radius_mm: ArrayLike, side: int = 1, thick: float = 1.0
    ) -> Tube:
        """Return a tube through reference points of the right side (`side=-1` mirrors it)."""
        line = self.point(np.asarray(line_mm, float) * (side, 1, 1))
        return Tube(line, np.asarray(radius_mm, float) * thick)

    def ellipsoid(
        self,
        centre_mm: ArrayLike,
        radii_mm: ArrayLike,
        side: int = 1,
        thick: float = 1.0,
        rotation: FloatArray | None = None,
    ) -> Ellipsoid:
        """Return an ellipsoid about a reference point of the right side (`side=-1` mirrors it)."""
        centre = self.point(np.asarray(centre_mm, float) * (side, 1, 1))
        return Ellipsoid(centre, np.asarray(radii_mm, float) * thick, rotation)

    @property
    def girth(self) -> float:
        """Return the factor for the thickness of bones relative to the reference coordinates."""
        return self.patient.height_mm / VERTEX_MM * (1.14 if self.patient.sex == "male" else 1.11)

    def organ(self, name: str, centre_mm: ArrayLike) -> Place:
        """Return the map from the reference body to an organ's position and size."""
        centre = np.asarray(centre_mm, float)
        width, depth = self.across(centre[2])
        length = float(self.z(centre[2] + 10) - self.z(centre[2] - 10)) / 20
        aspect = np.array([width, depth, length])
        aspect /= np.cbrt(aspect.prod())
        shift = np.asarray(self.patient.shift_mm.get(name, (0.0, 0.0, 0.0)))
        volume = self.patient.volume.get(name, 1.0)
        return Place(centre, self.point(centre) + shift, aspect * np.cbrt(volume))


@dataclass(frozen=True)
class Place:
    """The map of one organ from the reference body: moved, and scaled about its centre."""

    centre_mm: FloatArray
    to_mm: FloatArray
    scale: FloatArray

    def point(self, p_mm: ArrayLike) -> FloatArray:
        moved: FloatArray = self.to_mm + self.scale * (np.asarray(p_mm, float) - self.centre_mm)
        return moved

    def ellipsoid(
        self, centre_mm: ArrayLike, radii_mm: ArrayLike, rotation: FloatArray | None = None
    ) -> Ellipsoid:
        radii = np.asarray(radii_mm, float)
        scale = self.scale if rotation is None else np.full(3, np.cbrt(self.scale.prod()))
        return Ellipsoid(self.point(centre_mm), radii * scale, rotation)

    def tube(self, line_mm: ArrayLike, radius_mm: ArrayLike) -> Tube:
        return Tube(self.point(line_mm), np.asarray(radius_mm, float) * np.cbrt(self.scale.prod()))

    def loft(self, axis: int, knots: ArrayLike) -> Loft:
        table: FloatArray = np.array(knots, float)
        u, v = (n for n in (0, 1, 2) if n != axis)
        for column, n in ((0, axis), (1, u), (2, v)):
            table[:, column] = self.to_mm[n] + self.scale[n] * (
                table[:, column] - self.centre_mm[n]
            )
        table[:, 3:5] *= self.scale[u]
        table[:, 5:7] *= self.scale[v]
        return Loft(axis, table)


def rotation(*, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> FloatArray:
    """Return the rotation by degrees about x, then y, then z."""
    a, b, c = np.radians([x, y, z])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    rotation: FloatArray = rz @ ry @ rx
    return rotation
