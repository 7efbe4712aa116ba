"""Anatomy from a label map (of a segmented CT, say) in place of a drawn body."""

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
from petdiff.simulation.shapes.combined import Shared
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Bounds, Samples, Triple, box

# What lymph nodes of each station lie beside; the stations that are not here get none.
NODES_BESIDE = {
    "cervical_node": "thyroid", "supraclavicular_node": "clavicula", "mediastinal_node": "trachea",
    "hilar_node": "pulmonary", "mesenteric_node": "small_bowel",
    "retroperitoneal_node": "inferior_vena_cava", "iliac_node": "iliac",
}  # fmt: skip
NODE_FROM_MM = (6.0, 16.0)  # the middle of a node, from the surface of that structure
NODES_GROW_IN = ("muscle", "visceral_fat", "mediastinum")
COVER_MM, FAT_MM = 14.0, 8.0  # soft tissue assumed around what is labelled, and fat around that
CLOSING_MM = 9.0  # half of the gaps between labels that count as soft tissue too


@dataclass(frozen=True, eq=False)
class LabelMap:
    """labels [i, j, k], integers, in any orientation; affine, voxel index → mm in RAS+; names of
    the labels but 0."""

    labels: NDArray[np.integer]
    affine: NDArray[np.float64]
    names: Mapping[int, str]

    def grid(self, voxel_mm: Triple) -> Grid:
        """The grid along the patient's axes that covers the map, and the body around it sideways.

        In the map's own millimetres: images on this grid lie over the CT that was segmented.
        """
        low, high = np.array(_corners(self.labels.shape, self.affine))
        size = np.abs(self.affine[:3, :3]).sum(axis=1)  # of a voxel
        low, high = low - size / 2, high + size / 2
        body = np.array(self.structures[0].shape.bounds)
        air = (Mask.MARGIN - 1) * size  # in those bounds, but for a voxel of it
        # By whole voxels of the map, so that a grid of their size fits theirs.
        more = np.ceil(np.maximum(0, [low - body[0] - air, body[1] - air - high]) / size - 1e-6)
        more[:, 2] = 0
        low, high = low - more[0] * size, high + more[1] * size
        return Grid.around(*box(low, high), voxel_mm)

    @cached_property
    def present(self) -> dict[int, str]:
        """The names of the labels that occur; "" for one without a name."""
        return {int(n): self.names.get(int(n), "") for n in np.unique(self.labels) if n}

    @cached_property
    def structures(self) -> list[Structure]:
        """What the map's labels stand for, in painting order, within the body assumed around them.

        Raises InputRefused where no label has a known name.
        """
        return labelled_structures(self)


@dataclass(frozen=True, eq=False)
class Mask:
    """A region of a label map as a shape."""

    inside: NDArray[np.bool_]
    affine: NDArray[np.float64]

    MARGIN = 4  # voxels around the region for which its distance is known

    @cached_property
    def _field(self) -> tuple[FloatArray, NDArray[np.float64]]:
        """Signed distance in mm around the region, and the index → mm map of that part."""
        where = np.argwhere(self.inside)
        low = where.min(axis=0) - self.MARGIN
        size = where.max(axis=0) + 1 + self.MARGIN - low
        part = np.zeros(size, bool)
        part[tuple((where - low).T)] = True
        voxel_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        # Distances run between voxel centres; the surface lies half a voxel before the next one.
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


def _corners(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Bounds:
    """The box in mm of a grid's voxel centres."""
    corners = np.array([(*c, 1) for c in product(*[(0, n - 1) for n in shape])]) @ affine.T
    return box(corners[:, :3].min(axis=0), corners[:, :3].max(axis=0))


def labelled_structures(label_map: LabelMap) -> list[Structure]:
    """The label map's regions, within the body assumed around them."""
    ours = structure_names(label_map.present)
    labels, affine = _continued(label_map)
    lean, body = _body(labels, affine, guessed=not reach_the_skin(label_map.present))
    painted = [
        Structure("subcutaneous_fat", Shared(Mask(body, affine)), "fat", "fat", 0.08),
        Structure("muscle", Mask(lean, affine), "muscle", texture=0.1),
    ]
    for name in dict.fromkeys(ours.values()):
        inside = np.isin(labels, [label for label, known in ours.items() if known == name])
        tissue, material, factor = made_of(name)
        painted.append(Structure(name, Mask(inside, affine), tissue, material, 0.08, factor=factor))
    return painted


def _continued(label_map: LabelMap) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """The labels with room for the body at the sides; above and below, where an image ends but the
    body does not, the last slices are repeated."""
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
    """The array's axis that runs along the patient."""
    return int(np.argmax(np.abs(affine[2, :3]) / np.linalg.norm(affine[:3, :3], axis=0)))


def _body(
    labels: NDArray[np.integer], affine: NDArray[np.float64], *, guessed: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Lean tissue and whole body: all that is labelled, or what is guessed around it."""
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    in_slices = ndimage.generate_binary_structure(3, 1)
    in_slices[tuple(slice(None) if n == _axial(affine) else 1 for n in range(3))] = False
    in_slices[1, 1, 1] = True

    def mm_from(what: NDArray[np.bool_]) -> FloatArray:
        # From the surface, which lies half a voxel beyond the last centre.
        away = ndimage.distance_transform_edt(~what, sampling=voxel_mm) - voxel_mm.mean() / 2
        return np.asarray(away, np.float32)

    def filled(what: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(ndimage.binary_fill_holes(what, structure=in_slices), bool)

    if not guessed:
        lean = filled(labels != 0)
        return lean, lean
    wide = filled(mm_from(labels != 0) < COVER_MM + CLOSING_MM)
    lean = mm_from(~wide) > CLOSING_MM  # dilated and eroded: gaps between organs are closed
    return lean, mm_from(lean) < FAT_MM


def draw_labelled_patient(
    seed: int, label_map: LabelMap, *, tracer: str = "fdg", lesions: bool = True
) -> Patient:
    """A drawn patient's study, and lesions that grow in the label map's anatomy.

    What the description says of the body does not hold: render it with `render_labels`.
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
    """A place for a lymph node of that station, in what lies beside its vessel or organ."""
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
    """The label map with the patient's uptake, texture and lesions; labels are our own (NAMES).

    Outside the labels the body is guessed: soft tissue within 14 mm of a label, then 8 mm of fat.
    """
    painted = [*label_map.structures, *lesion_structures(patient)]
    return paint(patient, painted, grid, warp_sd_mm=0.0)
