"""Anatomy from a label map, such as that of a segmented CT, in place of a drawn body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petdiff.image import axial_axis, spacing_of
from petdiff.simulation.anatomy.description import Patient, Vector
from petdiff.simulation.anatomy.lesions import draw_lesions, lesion_structures
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.render import Phantom, paint
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.labels.label_names import (
    composition_of,
    include_body_outline,
    structure_names,
)
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.shapes.combined import Cached
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Bounds, Samples, Triple, box

# Lymph nodes of each station lie next to this structure. Other stations have no nodes.
NODE_LANDMARKS = {
    "cervical_node": "thyroid", "supraclavicular_node": "clavicula", "mediastinal_node": "trachea",
    "hilar_node": "pulmonary", "mesenteric_node": "small_bowel",
    "retroperitoneal_node": "inferior_vena_cava", "iliac_node": "iliac",
}  # fmt: skip
NODE_DISTANCE_MM = (6.0, 16.0)  # distance of a node's centre from its landmark
NODE_TISSUES = ("muscle", "visceral_fat", "mediastinum")
# Assumed thickness of soft tissue around the labels, and of fat around the soft tissue.
SOFT_TISSUE_MM, FAT_MM = 14.0, 8.0
CLOSING_MM = 9.0  # gaps between labels up to twice this width are filled with soft tissue


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map: integer labels [i, j, k] in any orientation, affine, and names.

    `affine` maps voxel indices to mm in RAS+. `names` has the names of the labels other than 0.
    """

    labels: NDArray[np.integer]
    affine: NDArray[np.float64]
    names: Mapping[int, str]

    def grid(self, voxel_mm: Triple) -> Grid:
        """Return the grid along the patient's axes that covers the map and the body around it.

        It has the map's coordinates, so that images on it are aligned with the segmented CT.
        """
        low, high = np.array(_corners(self.labels.shape, self.affine))
        size = np.abs(self.affine[:3, :3]).sum(axis=1)  # size of a voxel along the patient's axes
        low, high = low - size / 2, high + size / 2
        body = np.array(self.structures[0].shape.bounds)
        air = (Mask.MARGIN - 1) * size  # the margin of air in these bounds, less one voxel
        # Extend by whole voxels of the map, so that a grid of the same voxel size aligns with it.
        extra = np.ceil(np.maximum(0, [low - body[0] - air, body[1] - air - high]) / size - 1e-6)
        extra[:, 2] = 0
        low, high = low - extra[0] * size, high + extra[1] * size
        return Grid.around(*box(low, high), voxel_mm)

    @cached_property
    def present(self) -> dict[int, str]:
        """Return the names of the labels that occur; "" for a label without a name."""
        return {int(n): self.names.get(int(n), "") for n in np.unique(self.labels) if n}

    @cached_property
    def structures(self) -> list[Structure]:
        """Return the structures of the labels, in drawing order, within an assumed body.

        Raises InputRefused if no label has a known name.
        """
        return labelled_structures(self)


@dataclass(frozen=True, eq=False)
class Mask:
    """A region of a label map as a shape."""

    inside: NDArray[np.bool_]
    affine: NDArray[np.float64]

    MARGIN = 4  # voxels around the region in which the distance to it is computed

    @cached_property
    def _field(self) -> tuple[FloatArray, NDArray[np.float64]]:
        """Return the signed distance in mm around the region, and the affine of that volume."""
        box = _bounding_slices(self.inside)
        part = np.pad(self.inside[box], self.MARGIN)
        low = np.array([span.start for span in box]) - self.MARGIN
        voxel_mm = spacing_of(self.affine)
        # Distances are between voxel centres; the surface lies half a voxel closer.
        outside = ndimage.distance_transform_edt(~part, sampling=voxel_mm)
        within = ndimage.distance_transform_edt(part, sampling=voxel_mm)
        half = float(np.mean(voxel_mm)) / 2
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ low
        distance = outside - within + np.where(part, half, -half)
        return distance.astype(np.float32), affine

    @cached_property
    def bounds(self) -> Bounds:
        field, affine = self._field
        return _corners(field.shape, affine)

    def distance(self, at: Samples) -> FloatArray:
        field, affine = self._field
        inverse = np.linalg.inv(affine)
        index = inverse[:3, :3] @ np.stack([p.ravel() for p in at.points]) + inverse[:3, 3:]
        values = ndimage.map_coordinates(field, index, order=1, mode="nearest")
        distance: FloatArray = np.asarray(values, np.float32).reshape(at.shape)
        return distance


def _bounding_slices(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a region that is not empty."""
    spans = []
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        occupied = np.flatnonzero(inside.any(axis=others))
        spans.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(spans)


def _corners(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Bounds:
    """Return the box in mm of a grid's voxel centres."""
    corners = np.array([(*c, 1) for c in product(*[(0, n - 1) for n in shape])]) @ affine.T
    return box(corners[:, :3].min(axis=0), corners[:, :3].max(axis=0))


def labelled_structures(label_map: LabelMap) -> list[Structure]:
    """Return the label map's regions as structures, within the body assumed around them."""
    structure_of_label = structure_names(label_map.present)
    labels, affine = _extended(label_map)
    lean, body = _body(labels, affine, assume_body=not include_body_outline(label_map.present))
    structures = [
        Structure("subcutaneous_fat", Cached(Mask(body, affine)), "fat", "fat", 0.08),
        Structure("muscle", Mask(lean, affine), "muscle", texture=0.1),
    ]
    for name in dict.fromkeys(structure_of_label.values()):
        inside = np.isin(
            labels, [label for label, known in structure_of_label.items() if known == name]
        )
        tissue, material, factor = composition_of(name)
        structures.append(
            Structure(name, Mask(inside, affine), tissue, material, 0.08, factor=factor)
        )
    return structures


def _extended(label_map: LabelMap) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Return the labels with a transaxial margin for the assumed body, and their affine.

    The first and last slices are repeated, because the body extends beyond the image there.
    """
    affine = label_map.affine.copy()
    added_mm = SOFT_TISSUE_MM + CLOSING_MM + FAT_MM
    margin = np.ceil(np.divide(added_mm, spacing_of(affine))).astype(int)
    axial = axial_axis(affine)
    margin[axial] = 0
    labels = np.pad(label_map.labels, [(n, n) for n in margin])
    margin[axial] = Mask.MARGIN
    extra = [(0, 0)] * 3
    extra[axial] = (Mask.MARGIN, Mask.MARGIN)
    labels = np.pad(labels, extra, mode="edge")
    affine[:3, 3] -= affine[:3, :3] @ margin
    return labels, affine


def _body(
    labels: NDArray[np.integer], affine: NDArray[np.float64], *, assume_body: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of lean tissue and of the body; `assume_body` adds tissue around the labels."""
    voxel_mm = spacing_of(affine)
    in_slices = ndimage.generate_binary_structure(3, 1)
    in_slices[tuple(slice(None) if n == axial_axis(affine) else 1 for n in range(3))] = False
    in_slices[1, 1, 1] = True

    def distance_mm(region: NDArray[np.bool_]) -> FloatArray:
        # The surface lies half a voxel beyond the centre of the last voxel.
        distance = ndimage.distance_transform_edt(~region, sampling=voxel_mm)
        return np.asarray(distance - np.mean(voxel_mm) / 2, np.float32)

    def filled(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(ndimage.binary_fill_holes(region, structure=in_slices), bool)

    if not assume_body:
        lean = filled(labels != 0)
        return lean, lean
    dilated = filled(distance_mm(labels != 0) < SOFT_TISSUE_MM + CLOSING_MM)
    # Morphological closing, which fills gaps between organs.
    lean = distance_mm(~dilated) > CLOSING_MM
    return lean, distance_mm(lean) < FAT_MM


def draw_labelled_patient(
    seed: int, label_map: LabelMap, *, tracer: str = "fdg", lesions: bool = True
) -> Patient:
    """Return a drawn patient's study with lesions in the label map's anatomy.

    The body in the description is not used: render the patient with `render_labels`.
    """
    patient = draw_patient(seed, tracer=tracer, lesions=False)
    patient = patient.model_copy(update={"activity_scale": 1.0})
    if not lesions:
        return patient
    grid = label_map.grid((6.0, 6.0, 6.0))
    labels = render_labels(patient, label_map, grid).labels
    drawn = draw_lesions(patient, grid, labels, node=_draw_node)
    return patient.model_copy(update={"lesions": drawn})


def _draw_node(
    station: str, grid: Grid, labels: NDArray[np.uint8], rng: np.random.Generator
) -> Vector | None:
    """Draw the position of a lymph node next to the landmark of its station; None if absent."""
    landmark_name = NODE_LANDMARKS.get(station)
    if landmark_name is None:
        return None
    landmark_labels = [label for label, name in NAMES.items() if name.startswith(landmark_name)]
    tissue_labels = [label for label, name in NAMES.items() if name in NODE_TISSUES]
    landmark = np.isin(labels, landmark_labels)
    if not landmark.any():
        return None
    away_mm = ndimage.distance_transform_edt(~landmark, sampling=grid.voxel_mm)
    near = (
        (away_mm > NODE_DISTANCE_MM[0])
        & (away_mm < NODE_DISTANCE_MM[1])
        & np.isin(labels, tissue_labels)
    )
    candidates = np.argwhere(near)
    if not len(candidates):
        return None
    voxel = candidates[rng.integers(len(candidates))] + rng.uniform(-0.5, 0.5, 3)
    x, y, z = (float(v) for v in np.array(grid.origin_mm) + voxel * grid.voxel_mm)
    return x, y, z


def render_labels(patient: Patient, label_map: LabelMap, grid: Grid) -> Phantom:
    """Return the label map with the patient's uptake, texture and lesions; labels as in NAMES.

    If the labels do not include the body outline, soft tissue within 14 mm of a label and then 8 mm
    of fat are assumed around them.
    """
    structures = [*label_map.structures, *lesion_structures(patient)]
    return paint(patient, structures, grid, warp_sd_mm=0.0)
