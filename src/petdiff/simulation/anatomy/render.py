"""Render a patient: draw the structures on a grid, in order and with soft edges."""

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

BLOCK_VOXELS = 2_000_000  # voxels rendered at a time, to limit memory
WARP_SD_MM = 4.0  # standard deviation of the displacement along each axis
TEXTURE_WAVES = 64  # with 16, single waves are visible
SKIN_DEPTH_MM = 0.6  # smallest depth of all structures other than the skin


@dataclass(frozen=True, eq=False)
class Phantom:
    """activity_suv and mu_per_cm (at 511 keV) float32, labels uint8, all [i, j, k]."""

    activity_suv: NDArray[np.float32]
    mu_per_cm: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def part(self, start: int, stop: int) -> Phantom:
        """Return the slices from start to stop, which share memory with the whole."""
        part = (slice(None), slice(None), slice(start, stop))
        return Phantom(self.activity_suv[part], self.mu_per_cm[part], self.labels[part])


def render(patient: Patient, grid: Grid) -> Phantom:
    """Return the patient's activity, attenuation and labels on a grid over any part of the body.

    Edges are linear over one voxel, as an approximation of partial volumes. A voxel has the same
    values on any grid that contains it, except for rounding.
    """
    return paint(patient, [*structures(patient), *lesion_structures(patient)], grid)


def paint(
    patient: Patient, layers: Sequence[Structure], grid: Grid, warp_sd_mm: float = WARP_SD_MM
) -> Phantom:
    """Return the phantom of structures drawn in order; the first structure is the outline."""
    phantom = Phantom(
        np.zeros(grid.shape, np.float32),
        np.zeros(grid.shape, np.float32),
        np.zeros(grid.shape, np.uint8),
    )
    step = max(8, BLOCK_VOXELS // (grid.shape[0] * grid.shape[1]))
    with threadpool_limits(1, user_api="blas"):  # matrix products are too small for several threads
        for start in range(0, grid.shape[2], step):
            stop = min(start + step, grid.shape[2])
            samples = displaced(patient, grid.part(start, stop), warp_sd_mm)
            _paint(patient, layers, samples, phantom.part(start, stop))
    return phantom


def _paint(
    patient: Patient, layers: Sequence[Structure], samples: Samples, phantom: Phantom
) -> None:
    edge_mm = float(np.cbrt(np.prod(samples.step_mm)))
    outline = layers[0].shape
    for structure in layers:
        blurred = structure.moves_with_breathing and patient.breathing_mm > 0
        bounds = structure.shape.bounds
        region = samples.near(padded(bounds, patient.breathing_mm / 2) if blurred else bounds)
        if region is None:
            continue
        local = samples.part(region)
        distance = structure.shape.distance(local)
        if structure.shape is not outline:
            distance = np.maximum(distance, outline.distance(local) + np.float32(SKIN_DEPTH_MM))
        # The array is not changed in place, because several structures may share the distance.
        edge = _edge_width_mm(patient, local, edge_mm) if blurred else np.float32(edge_mm)
        fraction = np.clip(np.float32(0.5) - distance / edge, 0, 1)
        covered = _bounding_slices(fraction)
        if covered is not None:
            slices = _within(region, covered)
            _blend(patient, structure, samples.part(slices), fraction[covered], phantom, slices)


def _edge_width_mm(patient: Patient, at: Samples, voxel_mm: float) -> FloatArray:
    """Return the width in mm [i, j, k] of the soft edge of a structure that moves with breathing.

    The width is one voxel plus, near the diaphragm, the travel of the diaphragm. Averaged over a
    scan of minutes, breathing gives such an edge.
    """
    top, reach_mm = breathing_range(Frame(patient))
    edge: FloatArray = (at.points[2] - np.float32(top)) * np.float32(1 / reach_mm)
    edge *= -edge
    np.exp(edge, out=edge)
    edge *= np.float32(patient.breathing_mm)
    edge += np.float32(voxel_mm)
    return edge


def _blend(
    patient: Patient,
    structure: Structure,
    at: Samples,
    fraction: FloatArray,
    phantom: Phantom,
    region: Slices,
) -> None:
    value = structure.suv
    if value is None:
        value = patient.uptake[structure.tissue] * structure.factor * patient.activity_scale
    activity, mu = phantom.activity_suv[region], phantom.mu_per_cm[region]
    change = _texture(patient, structure, at)
    change *= np.float32(value)
    change -= activity
    change *= fraction
    activity += change
    np.subtract(np.float32(MU_PER_CM[structure.material]), mu, out=change)
    change *= fraction
    mu += change
    phantom.labels[region][fraction > 0.5] = LABELS[structure.name]


def displaced(patient: Patient, grid: Grid, warp_sd_mm: float = WARP_SD_MM) -> Samples:
    """Return the grid's points, displaced by the patient's random warp of the body."""
    fields = RandomField.shear(patient.stream("warp"), 14, (150, 420), warp_sd_mm)
    axes_mm = grid.axes_mm
    x, y, z = (field.on(axes_mm) for field in fields)
    x += axes_mm[0].astype(np.float32)[:, None, None]
    y += axes_mm[1].astype(np.float32)[None, :, None]
    z += axes_mm[2].astype(np.float32)[None, None, :]
    reach_mm = max(float(np.abs(m.amplitude).sum()) for m in fields) + max(grid.voxel_mm)
    return Samples(grid.origin_mm, grid.voxel_mm, (x, y, z), reach_mm)


def _texture(patient: Patient, structure: Structure, at: Samples) -> FloatArray:
    """Return the uptake relative to the structure's mean; it is positive."""
    rng = patient.stream(f"texture {structure.name} {structure.tissue}")
    texture = RandomField.random(rng, TEXTURE_WAVES, structure.wavelength_mm, structure.texture)
    field = texture.on(at.axes_mm)
    field += np.float32(1)
    np.maximum(field, np.float32(0.1), out=field)
    return field


def _bounding_slices(fraction: FloatArray) -> Slices | None:
    """Return the smallest box that holds all covered voxels; None if none is covered."""
    flat = fraction.max(axis=2)
    slices = []
    for line in (flat.max(axis=1), flat.max(axis=0), fraction.max(axis=(0, 1))):
        inside = np.flatnonzero(line)
        if len(inside) == 0:
            return None
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return slices[0], slices[1], slices[2]


def _within(region: Slices, part: Slices) -> Slices:
    """Return `part`, which is relative to `region`, as slices of the whole grid."""
    i, j, k = (
        slice(h.start + p.start, h.start + p.stop) for h, p in zip(region, part, strict=True)
    )
    return i, j, k
