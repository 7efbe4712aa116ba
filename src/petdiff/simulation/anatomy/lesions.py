"""Lesions at sites that are typical of each tracer's disease; they are rendered last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from petdiff.simulation.anatomy.description import Lesion, Patient, Vector
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.shapes.grid import Grid
from petdiff.simulation.shapes.random_fields import FloatArray, RandomField
from petdiff.simulation.shapes.signed_distance import Bounds, Samples, Shape, box

NodeSampler = Callable[[str, Grid, NDArray[np.uint8], np.random.Generator], Vector | None]
RADIUS_MM = (2.0, 30.0)
COLD_RADIUS, COLD_SUV = 0.55, 0.2  # a cold centre's radius and uptake relative to the lesion's


@dataclass(frozen=True)
class Disease:
    """The distribution of a tracer's lesions.

    sites      frequency of each kind of site
    suv        median SUV
    log_sd     standard deviations of the logarithm of SUV between patients and between lesions
    suv_range  smallest and largest SUV
    """

    sites: MappingProxyType[str, float]
    suv: float
    log_sd: tuple[float, float]
    suv_range: tuple[float, float]


def _disease(
    suv: float, log_sd: tuple[float, float], suv_range: tuple[float, float], **sites: float
) -> Disease:
    return Disease(MappingProxyType(sites), suv, log_sd, suv_range)


# Usual ranges for each tracer's main indications.
DISEASES = MappingProxyType(
    {
        "fdg": _disease(
            7.0, (0.45, 0.4), (2, 25),
            node=4, bone=2, liver=2, lung=3, peritoneum=1, soft_tissue=0.7, local=1.5,
        ),
        "psma": _disease(12.0, (0.5, 0.6), (4, 60), node=4, bone=5, local=3, lung=0.3, liver=0.2),
        "dotatate": _disease(
            18.0, (0.4, 0.5), (5, 60), liver=5, node=3, bone=2, local=2, peritoneum=1
        ),
        "fapi": _disease(
            9.0, (0.4, 0.4), (3, 25), node=3, liver=2, peritoneum=3, bone=1.5, lung=1.5, local=2
        ),
    }
)  # fmt: skip

# Prefixes of the names of the structures in which lesions of each kind of site grow.
SITES = MappingProxyType(
    {
        "bone": ("vertebrae_T", "vertebrae_L", "hip", "sacrum", "rib", "femur", "sternum",
                 "scapula"),
        "liver": ("liver",),
        "lung": ("lung",),
        "peritoneum": ("visceral_fat",),
        "soft_tissue": ("muscle",),
    }
)  # fmt: skip
PRIMARY_SITES = MappingProxyType(
    {
        "fdg": ("lung", "colon", "esophagus", "pharynx", "tongue", "stomach", "uterus"),
        "psma": ("prostate",),
        "dotatate": ("pancreas", "small_bowel", "duodenum"),
        "fapi": ("pancreas", "stomach", "esophagus", "colon"),
    }
)
# Lymph node stations: reference points of the right side, and standard deviation of the nodes'
# positions about them.
STATIONS: MappingProxyType[str, tuple[Vector, float]] = MappingProxyType(
    {
        "cervical_node": ((44, 4, 1530), 14),
        "supraclavicular_node": ((52, 6, 1468), 10),
        "axillary_node": ((136, -12, 1385), 14),
        "mediastinal_node": ((14, -12, 1392), 12),
        "hilar_node": ((46, -24, 1368), 8),
        "mesenteric_node": ((16, 36, 1110), 18),
        "retroperitoneal_node": ((18, 14, 1120), 22),
        "iliac_node": ((56, -12, 985), 14),
        "inguinal_node": ((84, 46, 905), 10),
    }
)
STATION_WEIGHTS = MappingProxyType(
    {
        "fdg": (2, 2, 1.5, 4, 3, 0.7, 1.5, 1, 1),
        "psma": (0.2, 0.7, 0.1, 0.6, 0.2, 0.1, 3, 5, 0.5),
        "dotatate": (0.2, 0.5, 0.1, 0.7, 0.2, 5, 2, 0.3, 0.1),
        "fapi": (1, 1.5, 1, 2, 1, 2, 2, 1, 0.5),
    }
)


def draw_lesions(
    patient: Patient, grid: Grid, labels: NDArray[np.uint8], *, node: NodeSampler | None = None
) -> tuple[Lesion, ...]:
    """Draw the patient's lesions within the extent from their own random stream; may be empty.

    `labels` on `grid` give the positions of structures. `node` draws the position of a lymph node
    of a station; None draws it around the reference point of a drawn body.
    """
    rng = patient.stream("lesions")
    disease = DISEASES[patient.tracer]
    count = min(int(rng.geometric(0.15)), 40) if rng.uniform() < 0.85 else 0
    # The frequent sites differ between patients: weights are drawn around the population's.
    weights = np.array(list(disease.sites.values())) * rng.gamma(0.7, 1.0, len(disease.sites))
    weights /= weights.sum()
    typical = np.log(disease.suv) + disease.log_sd[0] * rng.standard_normal()
    lesions = []
    for _ in range(count):
        kind = str(rng.choice(list(disease.sites), p=weights))
        site = _draw_site(patient, kind, grid, labels, rng, node)
        suv = np.exp(typical + disease.log_sd[1] * rng.standard_normal())
        radius = np.exp(rng.normal(np.log(6.5), 0.5))
        limit = 12.0 if kind in ("bone", "node") else RADIUS_MM[1]
        shape = _draw_shape(rng)
        seed = int(rng.integers(2**31))
        if site is not None:
            lesions.append(
                Lesion(
                    centre_mm=site[1],
                    radius_mm=float(np.clip(radius, RADIUS_MM[0], limit)),
                    suv=float(np.clip(suv, *disease.suv_range)),
                    organ=site[0],
                    shape=shape if radius > 5 else "round",
                    seed=seed,
                )
            )
    return tuple(lesions)


def _draw_shape(rng: np.random.Generator) -> Literal["round", "lobed", "cold-centre"]:
    uniform = rng.uniform()
    return "lobed" if uniform < 0.5 else "cold-centre" if uniform < 0.6 else "round"


def _draw_site(
    patient: Patient,
    kind: str,
    grid: Grid,
    labels: NDArray[np.uint8],
    rng: np.random.Generator,
    node: NodeSampler | None,
) -> tuple[str, Vector] | None:
    """Return the structure and the centre of a site of that kind; None if the extent has none."""
    if kind == "node":
        weights = np.array(STATION_WEIGHTS[patient.tracer])
        station = str(rng.choice(list(STATIONS), p=weights / weights.sum()))
        centre = (node or _sampler_at_stations(patient))(station, grid, labels, rng)
        return None if centre is None else (station, centre)
    prefixes = PRIMARY_SITES[patient.tracer] if kind == "local" else SITES[kind]
    present = np.bincount(labels.ravel(), minlength=max(NAMES) + 1)
    candidates = [
        label
        for label, name in NAMES.items()
        if present[label] and name.startswith(prefixes) and not name.endswith("_contents")
    ]
    if not candidates:
        return None
    organ = int(rng.choice(candidates))
    voxels = np.argwhere(labels == organ)
    if NAMES[organ].startswith(
        "femur"
    ):  # metastases grow in red marrow, which is in its upper part
        voxels = voxels[voxels[:, 2] >= np.quantile(voxels[:, 2], 0.7)]
    voxel = voxels[rng.integers(len(voxels))]
    centre = np.array(grid.origin_mm) + (voxel + rng.uniform(-0.5, 0.5, 3)) * grid.voxel_mm
    return NAMES[organ], _vector(centre)


def _sampler_at_stations(patient: Patient) -> NodeSampler:
    """Return a function that draws nodes around the reference point of their station."""

    def site(
        station: str, grid: Grid, labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> Vector | None:
        point, sd_mm = STATIONS[station]
        side = rng.choice([-1, 1])
        centre = Frame(patient).point(np.array(point) * (side, 1, 1)) + rng.normal(0, sd_mm, 3)
        voxel = np.rint((centre - grid.origin_mm) / grid.voxel_mm).astype(int)
        inside = bool(np.all((voxel >= 0) & (voxel < labels.shape)))
        return _vector(centre) if inside and labels[tuple(voxel)] > 0 else None

    return site


def _vector(values: FloatArray) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


@dataclass(frozen=True, eq=False)
class LesionShape:
    """A sphere, perhaps with lobes, in the grid; the body's warp does not move it."""

    centre_mm: Vector
    radius_mm: float
    lobes: RandomField | None = None

    @property
    def bounds(self) -> Bounds:
        centre = np.array(self.centre_mm)
        return box(centre - 1.8 * self.radius_mm, centre + 1.8 * self.radius_mm)

    def distance(self, at: Samples) -> FloatArray:
        x, y, z = (a - c for a, c in zip(at.axes_mm, self.centre_mm, strict=True))
        radius = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
        distance: FloatArray = (radius - self.radius_mm).astype(np.float32)
        if self.lobes is not None:
            distance += self.lobes.on(at.axes_mm)
        return distance


def lesion_structures(patient: Patient) -> list[Structure]:
    """Return the patient's lesions as structures, to be rendered after all others."""
    structures = []
    for lesion in patient.lesions:
        rng = np.random.default_rng(lesion.seed)
        radius = lesion.radius_mm
        lobes = None
        if lesion.shape == "lobed":
            lobes = RandomField.random(rng, 8, (1.6 * radius, 4 * radius), 0.14 * radius)
        outer: Shape = LesionShape(lesion.centre_mm, radius, lobes)
        structures.append(Structure("lesion", outer, "lesion", texture=0.08, suv=lesion.suv))
        if lesion.shape == "cold-centre":
            centre = LesionShape(lesion.centre_mm, COLD_RADIUS * radius)
            cold = COLD_SUV * lesion.suv
            structures.append(Structure("lesion", centre, "lesion", texture=0.08, suv=cold))
    return structures
