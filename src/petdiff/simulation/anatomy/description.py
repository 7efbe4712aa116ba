"""A virtual patient as a description: plain values that JSON keeps exactly, and replays."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Vector = tuple[float, float, float]
Sex = Literal["male", "female"]


class Record(BaseModel):
    """What every description shares: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lesion(Record):
    """A focus of uptake where the patient's grid has centre_mm, whatever warps the body.

    radius_mm  before lobes; a cold centre has the inner 0.55 of it
    suv        of its active part
    organ      the structure, or the lymph node station, that it grows in
    """

    centre_mm: Vector
    radius_mm: float
    suv: float
    organ: str
    shape: Literal["round", "lobed", "cold-centre"] = "round"
    seed: int = Field(default=0, ge=0)


class Lengths(Record):
    """Of legs (soles to hip), trunk (hip to C7) and head with neck, in mm."""

    legs: float
    trunk: float
    head: float


class Patient(Record):
    """Everything that makes one patient and one tracer study, in patient millimetres and SUV.

    width, depth, head   scales of the trunk and the head against the reference body
    build                thickness of the limbs and, half as much, of the trunk, fat aside
    fatness              thickness of subcutaneous fat against the reference body
    volume, shift_mm     organs' volume ratio and displacement against the reference body
    uptake               SUV per tissue, before `activity_scale`
    breathing_mm         travel of the diaphragm, which a scan of minutes blurs; 0 holds the breath
    activity_scale       makes the mean SUV of the body equal to what was not excreted
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
        """The random stream that belongs to one part of this patient, whatever else is drawn."""
        return stream(self.seed, name)


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each name, so that one draw never moves another."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
