"""The coordinates of the reference body, and the map from them to a patient.

The anatomy is written in coordinates of the reference body, a man of 1760 mm. x points right, y
forward and z up from the soles; x = 0 is the midline, and y = 0 is the middle of the trunk's depth.
For a patient, the lengths of legs, trunk and head are scaled separately, and so are the width and
depth of trunk and head. An organ moves with the scaled trunk, and has its own volume.
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
    """The map from reference coordinates to a patient's coordinates, both in mm."""

    patient: Patient

    def z(self, z_mm: ArrayLike) -> FloatArray:
        """Return the heights in the patient; legs, trunk and head are scaled separately."""
        lengths = self.patient.lengths_mm
        hip, neck = lengths.legs, lengths.legs + lengths.trunk
        reference_mm = [-VERTEX_MM, 0.0, HIP_MM, NECK_MM, VERTEX_MM, 2 * VERTEX_MM]
        head_scale = lengths.head / (VERTEX_MM - NECK_MM)
        top = neck + lengths.head
        patient_mm = [-VERTEX_MM * hip / HIP_MM, 0.0, hip, neck, top, top + VERTEX_MM * head_scale]
        heights: FloatArray = np.interp(np.asarray(z_mm, float), reference_mm, patient_mm)
        return heights

    def width_and_depth(self, z_mm: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the scales of width and depth at reference heights; the neck is interpolated."""
        patient = self.patient
        head = np.clip((np.asarray(z_mm, float) - NECK_MM) / 60, 0, 1)
        width = patient.width + head * (patient.head - patient.width)
        return width, patient.depth + head * (patient.head - patient.depth)

    def point(self, points_mm: ArrayLike) -> FloatArray:
        """Return the positions in the patient of reference points [..., 3]."""
        points = np.asarray(points_mm, float)
        width, depth = self.width_and_depth(points[..., 2])
        x, y = points[..., 0] * width, points[..., 1] * depth
        return np.stack([x, y, self.z(points[..., 2])], axis=-1)

    def tube(
        self, line_mm: ArrayLike, radius_mm: ArrayLike, side: int = 1, scale: float = 1.0
    ) -> Tube:
        """Return a tube through reference points of the right side (`side=-1` mirrors it)."""
        line = self.point(np.asarray(line_mm, float) * (side, 1, 1))
        return Tube(line, np.asarray(radius_mm, float) * scale)

    def ellipsoid(
        self,
        centre_mm: ArrayLike,
        radii_mm: ArrayLike,
        side: int = 1,
        scale: float = 1.0,
        rotation: FloatArray | None = None,
    ) -> Ellipsoid:
        """Return an ellipsoid about a reference point of the right side (`side=-1` mirrors it)."""
        centre = self.point(np.asarray(centre_mm, float) * (side, 1, 1))
        return Ellipsoid(centre, np.asarray(radii_mm, float) * scale, rotation)

    @property
    def bone_scale(self) -> float:
        """Return the thickness of bones relative to the reference coordinates."""
        return self.patient.height_mm / VERTEX_MM * (1.14 if self.patient.sex == "male" else 1.11)

    def organ(self, name: str, centre_mm: ArrayLike) -> OrganFrame:
        """Return the map from reference coordinates to an organ of the patient."""
        centre = np.asarray(centre_mm, float)
        width, depth = self.width_and_depth(centre[2])
        length = float(self.z(centre[2] + 10) - self.z(centre[2] - 10)) / 20
        aspect = np.array([width, depth, length])
        aspect /= np.cbrt(aspect.prod())
        shift = np.asarray(self.patient.shift_mm.get(name, (0.0, 0.0, 0.0)))
        volume = self.patient.volume.get(name, 1.0)
        return OrganFrame(centre, self.point(centre) + shift, aspect * np.cbrt(volume))


@dataclass(frozen=True)
class OrganFrame:
    """The map from reference coordinates to one organ, which is scaled about its centre and moved.

    centre_mm  the organ's centre in reference coordinates
    to_mm      its centre in the patient
    scale      factors along x, y and z
    """

    centre_mm: FloatArray
    to_mm: FloatArray
    scale: FloatArray

    def point(self, points_mm: ArrayLike) -> FloatArray:
        mapped: FloatArray = self.to_mm + self.scale * (
            np.asarray(points_mm, float) - self.centre_mm
        )
        return mapped

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
    """Return the matrix of a rotation in degrees about x, then y, then z."""
    a, b, c = np.radians([x, y, z])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix: FloatArray = rz @ ry @ rx
    return matrix
