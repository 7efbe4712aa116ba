"""Anatomy from a label map, such as that of a segmented CT, instead of a drawn body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petdiff.simulation.anatomy.description import Patient, Vector
from petdiff.simulation.anatomy.lesions import draw_lesions, lesion_structures
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.render import Phantom, paint
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.labels.label_names import made_of, reach_the_skin, structure_names
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.shapes.combined import Cached
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Bounds, Samples, Triple, box

# The structure that lymph nodes of each station lie beside; other stations get no nodes.
NODES_BESIDE = {
    "cervical_node": "thyroid", "supraclavicular_node": "clavicula", "mediastinal_node": "trachea",
    "hilar_node": "pulmonary", "mesenteric_node": "small_bowel",
    "retroperitoneal_node": "inferior_vena_cava", "iliac_node": "iliac",
}  # fmt: skip
NODE_FROM_MM = (6.0, 16.0)  # distance of a node's centre from that structure
NODES_GROW_IN = ("muscle", "visceral_fat", "mediastinum")
COVER_MM, FAT_MM = 14.0, 8.0  # soft tissue assumed around labels, and fat around it
CLOSING_MM = 9.0  # half the width of gaps between labels that are filled with soft tissue


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map: integer labels [i, j, k] in any orientation, affine, and names.

    `affine` maps voxel index to mm in RAS+. `names` are those of the labels other than 0.
    """

    labels: NDArray[np.integer]
    affine: NDArray[np.float64]
    names: Mapping[int, str]

    def grid(self, voxel_mm: Triple) -> Grid:
        """Return the grid along the patient's axes that covers the map and the body at its sides.

        It is in the map's coordinates: images on this grid align with the CT that was segmented.
        """
        low, high = np.array(_corners(self.labels.shape, self.affine))
        size = np.abs(self.affine[:3, :3]).sum(axis=1)  # of a voxel, along the patient's axes
        low, high = low - size / 2, high + size / 2
        body = np.array(self.structures[0].shape.bounds)
        air = (Mask.MARGIN - 1) * size  # the margin in those bounds, except one voxel
        # Extend by whole voxels of the map, so that a grid of the same voxel size aligns with it.
        more = np.ceil(np.maximum(0, [low - body[0] - air, body[1] - air - high]) / size - 1e-6)
        more[:, 2] = 0
        low, high = low - more[0] * size, high + more[1] * size
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

    MARGIN = 4  # voxels around the region in which its distance is computed

    @cached_property
    def _field(self) -> tuple[FloatArray, NDArray[np.float64]]:
        """Return the signed distance in mm around the region, and that part's affine."""
        box = _box(self.inside)
        part = np.pad(self.inside[box], self.MARGIN)
        low = np.array([span.start for span in box]) - self.MARGIN
        voxel_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        # Distances are between voxel centres; the surface lies half a voxel closer.
        outside = ndimage.distance_transform_edt(~part, sampling=voxel_mm)
        within = ndimage.distance_transform_edt(part, sampling=voxel_mm)
        half = float(voxel_mm.mean()) / 2
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
        found = ndimage.map_coordinates(field, index, order=1, mode="nearest")
        distance: FloatArray = np.asarray(found, np.float32).reshape(at.shape)
        return distance


def _box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a region that is not empty."""
    spans = []
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        found = np.flatnonzero(inside.any(axis=others))
        spans.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(spans)


def _corners(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Bounds:
    """Return the box in mm of a grid's voxel centres."""
    corners = np.array([(*c, 1) for c in product(*[(0, n - 1) for n in shape])]) @ affine.T
    return box(corners[:, :3].min(axis=0), corners[:, :3].max(axis=0))


def labelled_structures(label_map: LabelMap) -> list[Structure]:
    """Return the label map's regions as structures, within the body assumed around them."""
    ours = structure_names(label_map.present)
    labels, affine = _continued(label_map)
    lean, body = _body(labels, affine, guessed=not reach_the_skin(label_map.present))
    painted = [
        Structure("subcutaneous_fat", Cached(Mask(body, affine)), "fat", "fat", 0.08),
        Structure("muscle", Mask(lean, affine), "muscle", texture=0.1),
    ]
    for name in dict.fromkeys(ours.values()):
        inside = np.isin(labels, [label for label, known in ours.items() if known == name])
        tissue, material, factor = made_of(name)
        painted.append(Structure(name, Mask(inside, affine), tissue, material, 0.08, factor=factor))
    return painted


def _continued(label_map: LabelMap) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Return the labels with room for the body at the sides, and their affine.

    Above and below, the last slices are repeated, because the image ends there but the body does
    not.
    """
    affine = label_map.affine.copy()
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    room = np.ceil((COVER_MM + CLOSING_MM + FAT_MM) / voxel_mm).astype(int)
    axial = _axial(affine)
    room[axial] = 0
    labels = np.pad(label_map.labels, [(n, n) for n in room])
    room[axial] = Mask.MARGIN
    more = [(0, 0)] * 3
    more[axial] = (Mask.MARGIN, Mask.MARGIN)
    labels = np.pad(labels, more, mode="edge")
    affine[:3, 3] -= affine[:3, :3] @ room
    return labels, affine


def _axial(affine: NDArray[np.float64]) -> int:
    """Return the array axis that runs along the patient."""
    return int(np.argmax(np.abs(affine[2, :3]) / np.linalg.norm(affine[:3, :3], axis=0)))


def _body(
    labels: NDArray[np.integer], affine: NDArray[np.float64], *, guessed: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the lean tissue and the whole body: all labels, or a guess around them."""
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    in_slices = ndimage.generate_binary_structure(3, 1)
    in_slices[tuple(slice(None) if n == _axial(affine) else 1 for n in range(3))] = False
    in_slices[1, 1, 1] = True

    def mm_from(what: NDArray[np.bool_]) -> FloatArray:
        # From the surface, which lies half a voxel beyond the last voxel's centre.
        away = ndimage.distance_transform_edt(~what, sampling=voxel_mm) - voxel_mm.mean() / 2
        return np.asarray(away, np.float32)

    def filled(what: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(ndimage.binary_fill_holes(what, structure=in_slices), bool)

    if not guessed:
        lean = filled(labels != 0)
        return lean, lean
    wide = filled(mm_from(labels != 0) < COVER_MM + CLOSING_MM)
    lean = mm_from(~wide) > CLOSING_MM  # closing: fills gaps between organs
    return lean, mm_from(lean) < FAT_MM


def draw_labelled_patient(
    seed: int, label_map: LabelMap, *, tracer: str = "fdg", lesions: bool = True
) -> Patient:
    """Return a drawn patient's study with lesions that grow in the label map's anatomy.

    The body in the description is not used: render the patient with `render_labels`.
    """
    patient = draw_patient(seed, tracer=tracer, lesions=False)
    patient = patient.model_copy(update={"activity_scale": 1.0})
    if not lesions:
        return patient
    grid = label_map.grid((6.0, 6.0, 6.0))
    labels = render_labels(patient, label_map, grid).labels
    found = draw_lesions(patient, grid, labels, node=_node_beside)
    return patient.model_copy(update={"lesions": found})


def _node_beside(
    station: str, grid: Grid, labels: NDArray[np.uint8], rng: np.random.Generator
) -> Vector | None:
    """Return a place for a lymph node beside its station's vessel or organ; None."""
    beside = NODES_BESIDE.get(station)
    if beside is None:
        return None
    named = [label for label, name in NAMES.items() if name.startswith(beside)]
    soft = [label for label, name in NAMES.items() if name in NODES_GROW_IN]
    there = np.isin(labels, named)
    if not there.any():
        return None
    away_mm = ndimage.distance_transform_edt(~there, sampling=grid.voxel_mm)
    near = (away_mm > NODE_FROM_MM[0]) & (away_mm < NODE_FROM_MM[1]) & np.isin(labels, soft)
    places = np.argwhere(near)
    if not len(places):
        return None
    voxel = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 3)
    x, y, z = (float(v) for v in np.array(grid.origin_mm) + voxel * grid.voxel_mm)
    return x, y, z


def render_labels(patient: Patient, label_map: LabelMap, grid: Grid) -> Phantom:
    """Return the label map with the patient's uptake, texture and lesions; labels as in NAMES.

    Outside the labels the body is assumed: soft tissue within 14 mm of a label, then 8 mm of fat.
    """
    painted = [*label_map.structures, *lesion_structures(patient)]
    return paint(patient, painted, grid, warp_sd_mm=0.0)
