"""Rendering: paints a patient's structures, in order and with soft edges, on any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.clinic.anatomy.abdomen import abdomen
from petdiff.clinic.anatomy.body import SKIN_MM, layers
from petdiff.clinic.anatomy.frame import Frame
from petdiff.clinic.anatomy.head import head
from petdiff.clinic.anatomy.pelvis import pelvis
from petdiff.clinic.anatomy.skeleton import bones
from petdiff.clinic.anatomy.structure import MU_PER_CM, Structure
from petdiff.clinic.anatomy.thorax import thorax
from petdiff.clinic.implicit import Samples
from petdiff.clinic.patient import Patient
from petdiff.clinic.waves import Axes, Waves

SLAB_SLICES = 64  # rendered at a time, which bounds the memory


@dataclass(frozen=True)
class Grid:
    """Voxels in a patient's space: shape [i, j, k], size in mm, and the centre of voxel (0, 0, 0).

    The patient's space is RAS+: x right from the midline, y forward, z up from the soles.
    """

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> NDArray[np.float64]:
        affine = np.diag([*self.voxel_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def axes_mm(self) -> Axes:
        x, y, z = (
            o + v * np.arange(n)
            for o, v, n in zip(self.origin_mm, self.voxel_mm, self.shape, strict=True)
        )
        return x, y, z

    def slab(self, start: int, stop: int) -> Grid:
        """Slices start to stop of this grid."""
        x, y, z = self.origin_mm
        shape = (self.shape[0], self.shape[1], stop - start)
        return Grid(shape, self.voxel_mm, (x, y, z + start * self.voxel_mm[2]))


@dataclass(frozen=True, eq=False)
class Phantom:
    """activity_suv and mu_per_cm (at 511 keV) float32, labels uint8, all [i, j, k]."""

    activity_suv: NDArray[np.float32]
    mu_per_cm: NDArray[np.float32]
    labels: NDArray[np.uint8]


# Reference heights between which each extent lies.
EXTENT_MM = MappingProxyType(
    {
        "total-body": (-30.0, 1790.0),
        "torso": (640.0, 1790.0),
        "head-neck": (1430.0, 1790.0),
        "thorax": (1180.0, 1500.0),
        "abdomen": (1000.0, 1300.0),
        "pelvis": (830.0, 1090.0),
    }
)


def patient_grid(
    patient: Patient, voxel_mm: tuple[float, float, float], margin_mm: float = 20.0
) -> Grid:
    """The grid that holds the patient's extent, with air around it."""
    frame = Frame(patient)
    low, high = structures(patient)[0].shape.bounds
    bottom, top = (float(frame.z(z)) for z in EXTENT_MM[patient.extent])
    if patient.extent == "total-body":
        bottom, top = float(low[2]) - margin_mm, float(high[2]) + margin_mm
    half = np.maximum(np.abs(low), np.abs(high))[:2] + margin_mm
    size = (2 * half[0], 2 * half[1], top - bottom)
    shape = tuple(int(np.ceil(s / v)) for s, v in zip(size, voxel_mm, strict=True))
    centre = (0.0, 0.0, (top + bottom) / 2)
    origin = tuple(
        float(c - (n - 1) / 2 * v) for c, n, v in zip(centre, shape, voxel_mm, strict=True)
    )
    return Grid(shape, voxel_mm, origin)  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def _structures(key: str) -> tuple[Structure, ...]:
    frame = Frame(Patient.model_validate_json(key))
    return (
        *layers(frame),
        *thorax(frame)[:3],
        *bones(frame),
        *thorax(frame)[3:],
        *head(frame),
        *abdomen(frame),
        *pelvis(frame),
    )


def structures(patient: Patient) -> tuple[Structure, ...]:
    """Everything in the patient but the lesions, in painting order, the outline first."""
    return _structures(patient.model_copy(update={"lesions": ()}).model_dump_json())


def _names() -> MappingProxyType[int, str]:
    from petdiff.clinic.anatomy.names import STRUCTURE_NAMES

    return MappingProxyType(dict(enumerate(STRUCTURE_NAMES, start=1)))


NAMES = _names()
_LABELS = {name: label for label, name in NAMES.items()}


def render(patient: Patient, grid: Grid) -> Phantom:
    """The patient's activity, attenuation and labels on a grid, whole or any part of it."""
    found = structures(patient)
    phantom = Phantom(
        np.zeros(grid.shape, np.float32),
        np.zeros(grid.shape, np.float32),
        np.zeros(grid.shape, np.uint8),
    )
    for start in range(0, grid.shape[2], SLAB_SLICES):
        stop = min(start + SLAB_SLICES, grid.shape[2])
        part = (slice(None), slice(None), slice(start, stop))
        _paint_slab(patient, found, grid.slab(start, stop), phantom, part)
    return phantom


def _paint_slab(
    patient: Patient,
    found: Sequence[Structure],
    grid: Grid,
    phantom: Phantom,
    part: tuple[slice, slice, slice],
) -> None:
    from petdiff.clinic.lesions import paint_lesions

    samples = _samples(patient, grid)
    activity, mu, labels = (
        a[part] for a in (phantom.activity_suv, phantom.mu_per_cm, phantom.labels)
    )
    softness = np.float32(1 / np.cbrt(np.prod(grid.voxel_mm)))
    outside: NDArray[Any] | None = None
    for structure in found:
        here = samples.near(structure.shape.bounds)
        if here is None:
            continue
        local = samples.part(here)
        distance = structure.shape.distance(local)
        if outside is None:
            outside = np.full(samples.shape, np.float32(1e3))
            outside[here] = distance
        else:
            distance = np.maximum(distance, outside[here] + np.float32(0.3 * SKIN_MM))
        cover = np.clip(np.float32(0.5) - distance * softness, 0, 1)
        if not cover.any():
            continue
        value = np.float32(
            patient.uptake[structure.tissue] * patient.activity_scale * structure.factor
        )
        texture = _texture(patient, structure, local)
        activity[here] += cover * (value * texture - activity[here])
        mu[here] += cover * (np.float32(MU_PER_CM[structure.material]) - mu[here])
        labels[here][cover > 0.5] = _LABELS[structure.name]
    paint_lesions(patient, samples, softness, activity, labels)


def _samples(patient: Patient, grid: Grid) -> Samples:
    """The grid's points, displaced by the patient's own warp of the whole body."""
    rng = patient.stream("warp")
    moves = [Waves.random(rng, 8, (160, 420), 3.0) for _ in range(3)]
    axes = grid.axes_mm
    x, y, z = (move.on(axes) for move in moves)
    x += axes[0].astype(np.float32)[:, None, None]
    y += axes[1].astype(np.float32)[None, :, None]
    z += axes[2].astype(np.float32)[None, None, :]
    reach = max(float(np.abs(m.amplitude).sum()) for m in moves) + max(grid.voxel_mm)
    return Samples(axes, (x, y, z), reach)


def _texture(patient: Patient, structure: Structure, at: Samples) -> NDArray[Any]:
    rng = patient.stream(f"texture {structure.name} {structure.tissue}")
    count = 12 if structure.texture < 0.08 else 24
    field = Waves.random(rng, count, structure.grain_mm, structure.texture).on(at.axes_mm)
    return np.maximum(1 + field, np.float32(0.1))
