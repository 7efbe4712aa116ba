"""Rendering: paint a patient's structures, in order and with soft edges, on any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from petdiff.simulation.anatomy.build import structures
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.lesions import lesion_structures
from petdiff.simulation.anatomy.names import LABELS
from petdiff.simulation.anatomy.structure import MU_PER_CM, Structure
from petdiff.simulation.anatomy.thorax import breathing_range
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.random_fields import FloatArray, RandomField
from petdiff.simulation.shapes.signed_distance import Samples, Slices, padded

PAINTED_VOXELS = 2_000_000  # painted at a time, which limits memory
WARP_SD_MM = 4.0  # standard deviation of the displacement along each axis
TEXTURE_WAVES = 64  # with 16, single waves are visible as a cross-hatch
UNDER_THE_SKIN_MM = 0.6  # depth below the surface of all but the skin


@dataclass(frozen=True, eq=False)
class Phantom:
    """activity_suv and mu_per_cm (at 511 keV) float32, labels uint8, all [i, j, k]."""

    activity_suv: NDArray[np.float32]
    mu_per_cm: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def part(self, start: int, stop: int) -> Phantom:
        """Return slices start to stop, sharing memory with the whole."""
        part = (slice(None), slice(None), slice(start, stop))
        return Phantom(self.activity_suv[part], self.mu_per_cm[part], self.labels[part])


def render(patient: Patient, grid: Grid) -> Phantom:
    """Return the patient's activity, attenuation and labels on a grid over any part of the body.

    Edges are soft over one voxel, in proportion to the covered share of the voxel. A voxel has the
    same values on any grid that contains it, except for rounding.
    """
    return paint(patient, [*structures(patient), *lesion_structures(patient)], grid)


def paint(
    patient: Patient, painted: Sequence[Structure], grid: Grid, warp_sd_mm: float = WARP_SD_MM
) -> Phantom:
    """Return structures painted in order with the patient's uptake; the first is the outline."""
    phantom = Phantom(
        np.zeros(grid.shape, np.float32),
        np.zeros(grid.shape, np.float32),
        np.zeros(grid.shape, np.uint8),
    )
    step = max(8, PAINTED_VOXELS // (grid.shape[0] * grid.shape[1]))
    with threadpool_limits(1, user_api="blas"):  # its products are too small for several threads
        for start in range(0, grid.shape[2], step):
            stop = min(start + step, grid.shape[2])
            samples = displaced(patient, grid.part(start, stop), warp_sd_mm)
            _paint(patient, painted, samples, phantom.part(start, stop))
    return phantom


def _paint(patient: Patient, painted: Sequence[Structure], samples: Samples, onto: Phantom) -> None:
    edge_mm = float(np.cbrt(np.prod(samples.step_mm)))
    outline = painted[0].shape
    for structure in painted:
        blurred = structure.breathes and patient.breathing_mm > 0
        bounds = structure.shape.bounds
        here = samples.near(padded(bounds, patient.breathing_mm / 2) if blurred else bounds)
        if here is None:
            continue
        local = samples.part(here)
        cover = structure.shape.distance(local)
        if structure.shape is not outline:
            cover = np.maximum(cover, outline.distance(local) + np.float32(UNDER_THE_SKIN_MM))
        # Not in place: several structures may share the distance.
        cover = cover / (_edge_mm(patient, local, edge_mm) if blurred else np.float32(edge_mm))
        cover = np.clip(np.float32(0.5) - cover, 0, 1)
        tight = _where_not_zero(cover)
        if tight is not None:
            slices = _within(here, tight)
            _blend(patient, structure, samples.part(slices), cover[tight], onto, slices)


def _edge_mm(patient: Patient, at: Samples, voxel_mm: float) -> FloatArray:
    """Return the width in mm of a breathing structure's soft edge, [i, j, k].

    The width is a voxel, plus the travel of the breath near the diaphragm: the mean of a scan of
    minutes has such an edge.
    """
    top, reach = breathing_range(Frame(patient))
    edge: FloatArray = (at.points[2] - np.float32(top)) * np.float32(1 / reach)
    edge *= -edge
    np.exp(edge, out=edge)
    edge *= np.float32(patient.breathing_mm)
    edge += np.float32(voxel_mm)
    return edge


def _blend(
    patient: Patient,
    structure: Structure,
    at: Samples,
    cover: FloatArray,
    onto: Phantom,
    here: Slices,
) -> None:
    value = structure.suv
    if value is None:
        value = patient.uptake[structure.tissue] * structure.factor * patient.activity_scale
    activity, mu = onto.activity_suv[here], onto.mu_per_cm[here]
    change = _texture(patient, structure, at)
    change *= np.float32(value)
    change -= activity
    change *= cover
    activity += change
    np.subtract(np.float32(MU_PER_CM[structure.material]), mu, out=change)
    change *= cover
    mu += change
    onto.labels[here][cover > 0.5] = LABELS[structure.name]


def displaced(patient: Patient, grid: Grid, warp_sd_mm: float = WARP_SD_MM) -> Samples:
    """Return the grid's points, displaced by the patient's own warp of the whole body."""
    moves = RandomField.shear(patient.stream("warp"), 14, (150, 420), warp_sd_mm)
    straight = grid.axes_mm
    x, y, z = (move.on(straight) for move in moves)
    x += straight[0].astype(np.float32)[:, None, None]
    y += straight[1].astype(np.float32)[None, :, None]
    z += straight[2].astype(np.float32)[None, None, :]
    reach = max(float(np.abs(m.amplitude).sum()) for m in moves) + max(grid.voxel_mm)
    return Samples(grid.origin_mm, grid.voxel_mm, (x, y, z), reach)


def _texture(patient: Patient, structure: Structure, at: Samples) -> FloatArray:
    """Return uptake relative to the structure's mean, positive."""
    rng = patient.stream(f"texture {structure.name} {structure.tissue}")
    texture = RandomField.random(rng, TEXTURE_WAVES, structure.grain_mm, structure.texture)
    field = texture.on(at.axes_mm)
    field += np.float32(1)
    np.maximum(field, np.float32(0.1), out=field)
    return field


def _where_not_zero(cover: FloatArray) -> Slices | None:
    """Return the smallest box that holds all covered voxels; None if none is covered."""
    flat = cover.max(axis=2)
    found = []
    for line in (flat.max(axis=1), flat.max(axis=0), cover.max(axis=(0, 1))):
        inside = np.flatnonzero(line)
        if len(inside) == 0:
            return None
        found.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return found[0], found[1], found[2]


def _within(here: Slices, part: Slices) -> Slices:
    """Return a part of a part, as slices of the whole."""
    i, j, k = (slice(h.start + p.start, h.start + p.stop) for h, p in zip(here, part, strict=True))
    return i, j, k
