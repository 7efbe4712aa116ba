"""Anatomy from a label map (of a segmented CT, say) in place of a drawn body."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petdiff.clinic.anatomy.grid import Grid
from petdiff.clinic.anatomy.names import LABELS
from petdiff.clinic.anatomy.render import Phantom, paint
from petdiff.clinic.anatomy.structure import Structure
from petdiff.clinic.description import Patient
from petdiff.clinic.implicit import Bounds, Samples, Shared, Triple, box
from petdiff.clinic.lesions import draw_lesions, lesion_structures
from petdiff.clinic.patient import draw_patient
from petdiff.clinic.waves import FloatArray
from petdiff.errors import InputRefused

# What foreign names start with → our structure. Our own names need no entry.
ALIASES = {
    "lung_upper_lobe_left": "lung_left", "lung_lower_lobe_left": "lung_left",
    "lung_upper_lobe_right": "lung_right", "lung_middle_lobe_right": "lung_right",
    "lung_lower_lobe_right": "lung_right", "kidney_cyst_left": "kidney_left",
    "kidney_cyst_right": "kidney_right", "vertebrae_S1": "sacrum",
    "pulmonary_vein": "pulmonary_artery", "brachiocephalic": "brachiocephalic_vessels",
    "subclavian": "brachiocephalic_vessels", "common_carotid": "brachiocephalic_vessels",
    "atrial_appendage_left": "heart_atrium_left", "gluteus": "muscle", "autochthon": "muscle",
    "brain": "cerebrum_grey", "costal_cartilages": "muscle", "body": "muscle",
    "body_trunc": "muscle", "body_extremities": "muscle", "skeletal_muscle": "muscle",
    "torso_fat": "visceral_fat",
}  # fmt: skip
# Structures by what their names start with: tissue, material, factor. The first that fits counts.
MADE_OF: tuple[tuple[str, tuple[str, str, float]], ...] = (
    ("skin", ("skin", "soft", 1.0)),
    ("subcutaneous_fat", ("fat", "fat", 1.0)),
    ("visceral_fat", ("fat", "fat", 1.0)),
    ("lung", ("lung", "lung", 1.0)),
    ("trachea", ("gas", "gas", 1.0)),
    ("airway", ("gas", "gas", 1.0)),
    ("rib", ("marrow", "marrow", 0.75)),
    *((name, ("marrow", "marrow", 1.0)) for name in ("vertebrae", "sacrum", "hip", "sternum")),
    *((name, ("marrow", "marrow", 0.6)) for name in ("clavicula", "scapula", "skull")),
    *((name, ("yellow_marrow", "marrow", 1.0)) for name in ("femur", "humerus", "tibia", "fibula",
      "patella", "foot", "radius", "ulna", "hand")),
    *((name, ("blood", "soft", 1.0)) for name in ("aorta", "pulmonary", "superior", "inferior",
      "brachio", "iliac", "portal", "heart_ventricle", "heart_atrium")),
    ("heart", ("myocardium", "soft", 0.5)),  # unsegmented: wall and blood together
    ("kidney", ("kidney_cortex", "soft", 1.0)),
    ("ureter", ("ureter", "soft", 1.0)),
    ("urinary_bladder_wall", ("muscle", "soft", 1.0)),
    ("urinary_bladder", ("bladder", "soft", 1.0)),
    ("cerebrum_grey", ("grey_matter", "soft", 1.0)),
    ("cerebrum_white", ("white_matter", "soft", 1.0)),
    ("deep_nuclei", ("deep_grey", "soft", 1.0)),
    ("parotid", ("parotid", "soft", 1.0)),
    ("submandibular", ("submandibular", "soft", 1.0)),
    ("adrenal", ("adrenal", "soft", 1.0)),
    ("thyroid", ("thyroid", "soft", 1.0)),
    ("esophagus", ("oesophagus", "soft", 1.0)),
    ("seminal", ("seminal_vesicle", "soft", 1.0)),
    ("testes", ("testis", "soft", 1.0)),
    ("ovaries", ("ovary", "soft", 1.0)),
    *((name, (name, "soft", 1.0)) for name in ("liver", "spleen", "pancreas", "stomach",
      "gallbladder", "duodenum", "small_bowel", "colon", "rectum", "prostate", "uterus",
      "cerebellum", "brainstem", "pituitary", "spinal_cord", "tongue", "pharynx")),
)  # fmt: skip
COVER_MM, FAT_MM = 14.0, 8.0  # soft tissue assumed around what is labelled, and fat around that


@dataclass(frozen=True, eq=False)
class LabelMap:
    """labels [i, j, k], integers; affine, voxel index → mm in RAS+; names of the labels but 0."""

    labels: NDArray[np.integer]
    affine: NDArray[np.float64]
    names: Mapping[int, str]

    def grid(self, voxel_mm: Triple) -> Grid:
        """The grid that covers it."""
        low, high = np.array(_corners(self.labels.shape, self.affine))
        half = np.abs(self.affine[:3, :3]).sum(axis=1) / 2
        return Grid.around(*box(low - half, high + half), voxel_mm)


def read_names(path: Path) -> dict[int, str]:
    """Label names from JSON ({"1": "spleen"}) or from lines "1,spleen" (comma, tab or blank).

    Raises InputRefused where the file holds neither.
    """
    try:
        text = path.read_text()
        if path.suffix == ".json":
            return {int(label): str(name) for label, name in json.loads(text).items()}
        rows = csv.reader(text.replace("\t", ",").replace(" ", ",").splitlines())
        return {int(row[0]): row[1] for row in rows if row}
    except (OSError, ValueError, IndexError, AttributeError) as error:
        raise InputRefused(
            f"{path}: no label names to be read ({error}): give JSON such as "
            '{"1": "spleen"}, or a line "1,spleen" per label'
        ) from None


def structure_names(label_map: LabelMap) -> dict[int, str]:
    """Our name for each label present; InputRefused for a label with no name, or one unknown."""
    found = {}
    for label in (int(n) for n in np.unique(label_map.labels) if n):
        name = label_map.names.get(label)
        if name is None:
            raise InputRefused(f"label {label} has no name: add it to the names file")
        found[label] = _known(name)
    return found


def _known(name: str) -> str:
    if name in LABELS:
        return name
    for start, ours in ALIASES.items():
        if name.startswith(start):
            return ours
    near = get_close_matches(name, [*LABELS, *ALIASES], n=1)
    hint = f"did you mean {near[0]}?" if near else "use TotalSegmentator's class names"
    raise InputRefused(f"unknown structure {name!r} in the names file: {hint}")


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
    voxel_mm = np.linalg.norm(label_map.affine[:3, :3], axis=0)
    away = ndimage.distance_transform_edt(label_map.labels == 0, sampling=voxel_mm)
    lean = ndimage.binary_fill_holes(ndimage.binary_closing(away < COVER_MM, iterations=3))
    assert lean is not None
    body = ndimage.distance_transform_edt(~lean, sampling=voxel_mm) < FAT_MM
    painted = [
        Structure("subcutaneous_fat", Shared(Mask(body, label_map.affine)), "fat", "fat", 0.08),
        Structure("muscle", Mask(lean, label_map.affine), "muscle", texture=0.1),
    ]
    ours = structure_names(label_map)
    for name in dict.fromkeys(ours.values()):
        inside = np.isin(
            label_map.labels, [label for label, known in ours.items() if known == name]
        )
        tissue, material, factor = next(
            (made for start, made in MADE_OF if name.startswith(start)), ("muscle", "soft", 1.0)
        )
        mask = Mask(inside, label_map.affine)
        painted.append(Structure(name, mask, tissue, material, 0.08, factor=factor))
    return painted


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
    return patient.model_copy(update={"lesions": draw_lesions(patient, grid, labels)})


def render_labels(patient: Patient, label_map: LabelMap, grid: Grid) -> Phantom:
    """The label map with the patient's uptake, texture and lesions; labels are our own (NAMES).

    Outside the labels the body is guessed: soft tissue within 14 mm of a label, then 8 mm of fat.
    """
    painted = [*labelled_structures(label_map), *lesion_structures(patient)]
    return paint(patient, painted, grid, warp_sd_mm=0.0)
