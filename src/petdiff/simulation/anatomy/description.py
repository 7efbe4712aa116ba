"""The description of a virtual patient, by values that JSON stores exactly."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Vector = tuple[float, float, float]
Sex = Literal["male", "female"]


class Record(BaseModel):
    """Base of all descriptions: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lesion(Record):
    """A lesion at centre_mm in the patient's grid, which the body's warp does not move.

    radius_mm  radius without lobes; a cold centre has 0.55 of this radius
    suv        SUV of the active part
    organ      structure or lymph node station in which it grows
    """

    centre_mm: Vector
    radius_mm: float
    suv: float
    organ: str
    shape: Literal["round", "lobed", "cold-centre"] = "round"
    seed: int = Field(default=0, ge=0)


class Lengths(Record):
    """Lengths of legs (soles to hip), trunk (hip to C7) and head with neck, in mm."""

    legs: float
    trunk: float
    head: float


class Patient(Record):
    """A patient and a tracer study, in patient millimetres and SUV.

    width, depth, head  scales of the trunk and the head relative to the reference body
    build               thickness of the limbs and, half as much, of the trunk, without fat
    fatness             thickness of subcutaneous fat relative to the reference body
    volume, shift_mm    volume ratio and displacement of organs relative to the reference body
    uptake              SUV per tissue, before `activity_scale`
    breathing_mm        travel of the diaphragm in quiet breathing; 0: no breathing
    activity_scale      factor that gives the body a mean SUV of 1 − excreted_fraction
    """

    seed: int = Field(ge=0)
    tracer: str
    extent: str
    sex: Sex
    height_mm: float
    weight_kg: float
    arms: Literal["up", "down"]
    lengths_mm: Lengths
    width: float
    depth: float
    head: float
    build: float
    fatness: float
    volume: dict[str, float]
    shift_mm: dict[str, Vector]
    uptake: dict[str, float]
    variants: tuple[str, ...]
    injected_mbq: float
    uptake_min: float
    excreted_fraction: float
    breathing_mm: float = Field(default=0.0, ge=0, le=40)
    activity_scale: float = 1.0
    lesions: tuple[Lesion, ...] = ()

    @property
    def bmi(self) -> float:
        return self.weight_kg / (self.height_mm / 1000) ** 2

    def stream(self, name: str) -> np.random.Generator:
        """Return this patient's random stream for one part, independent of the other parts."""
        return stream(self.seed, name)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return a random stream for each seed and name, independent of other streams."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
