"""Read the sidecar (.json) of a NIfTI file (BIDS, dcm2niix): unit, dose, times and weight.

The keys are those of the PET part of the Brain Imaging Data Structure; dcm2niix writes DICOM
keywords.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petdiff.errors import InputRefused
from petdiff.io.bids_dataset import folders_above
from petdiff.io.bids_weight import weight_from_tables
from petdiff.io.formats import stem_of
from petdiff.io.json_files import read_json

SUV = "SUV"
# Units of activity per millilitre, in lower case and without blanks, and their size in Bq/ml.
_BECQUEREL = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_CURIE = {"n": 37.0, "u": 3.7e4, "m": 3.7e7}
_PER_ML = r"(?:/|per|\*)?(?:ml|cc|cm3|cm\^3|cm\*\*3)(?:\^?-1)?"
_ACTIVITY = re.compile(rf"([kmg]?)bq{_PER_ML}|([num])ci{_PER_ML}")
_BODY_WEIGHT_SUV = {"suv", "suvbw", "suv(bw)", "suvbodyweight", "gml", "g/ml", "g/cc"}
_MIN_BQ = 1e4  # a lower dose is implausible
# Keys of the body weight in kg: of DICOM, and additional ones that are used in BIDS.
WEIGHTS = ("PatientWeight", "BodyWeight", "ParticipantWeight", "SubjectWeight", "Weight")
_IN_BQ = {"bq": 1.0, "kbq": 1e3, "mbq": 1e6, "gbq": 1e9, "uci": 3.7e4, "mci": 3.7e7, "ci": 3.7e10}


@dataclass(frozen=True)
class Sidecar:
    """The content of a file's sidecars.

    name     name of the nearest one, for messages
    content  keys and values, including those of sidecars in folders above
    """

    name: str
    content: Mapping[str, Any]

    @property
    def unit(self) -> str:
        """The stated unit of the values; empty if there is none."""
        unit = self.content.get("Units")
        return unit.strip() if isinstance(unit, str) else ""

    def numbers(self, key: str) -> list[float]:
        """Return the numbers of a list, or a single number; empty if one is not a number."""
        value = self.content.get(key)
        values = value if isinstance(value, list) else [value]
        numbers = [Sidecar(self.name, {key: one}).number(key) for one in values]
        return [n for n in numbers if n is not None] if None not in numbers else []

    def number(self, *keys: str) -> float | None:
        """Return the finite number of the first key that has one, alone or first in a list."""
        for key in keys:
            value = self.content.get(key)
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                continue
            try:
                number = float(value)
            except (ValueError, OverflowError):
                continue
            if np.isfinite(number):
                return number
        return None

    def dose_bq(self) -> float | None:
        """Return the injected activity in Bq."""
        dose = self.number("InjectedRadioactivity")
        if dose is not None:
            unit = str(self.content.get("InjectedRadioactivityUnits", "")).strip()
            factor = _IN_BQ.get(unit.lower().replace("µ", "u").replace("μ", "u"))
            dose_bq = dose * factor if factor and dose > 0 else None
            # dcm2niix divides by 1e6 even if a DICOM header has MBq.
            small = dose_bq is not None and factor == 1e6 and dose_bq < _MIN_BQ
            return dose_bq * 1e6 if dose_bq and small else dose_bq
        dose = self.number("RadionuclideTotalDose")
        if dose is None or dose <= 0:
            return None
        return dose * 1e6 if dose < 1e6 else dose  # in MBq, as in some DICOM headers


def read_sidecar(path: Path) -> tuple[Sidecar | None, list[str]]:
    """Read the sidecar of a NIfTI file, and warnings; None if there is none that can be read.

    For a file of a BIDS data set, the keys of sidecars in the folders above are added (the
    inheritance principle), and the weight from its tables (participants.tsv, sessions.tsv).
    """
    content: dict[str, Any] = {}
    warnings: list[str] = []
    name = ""
    for file in _sidecar_files(path):
        try:
            read = read_json(file)
        except InputRefused as problem:
            warnings.append(f"{problem}; the file is ignored")
            continue
        if isinstance(read, dict):
            content |= read
            name = file.name
        else:
            warnings.append(f"{file.name} is not a JSON object and is ignored")
    if not name:
        return None, warnings
    if Sidecar(name, content).number(*WEIGHTS) is None:
        weight = weight_from_tables(path)
        content |= {} if weight is None else {"PatientWeight": weight}
    return Sidecar(name, content), warnings


def sidecar_of(path: Path) -> Path:
    """Return the path of the .json beside a NIfTI file."""
    return path.with_name(stem_of(path) + ".json")


def bids_unit(unit: str) -> str:
    """Return the BIDS name of a DICOM unit."""
    return {"BQML": "Bq/mL", "GML": SUV}.get(unit, unit)


def bqml_per_unit(unit: str) -> float | None:
    """Return the factor of a unit to Bq/ml; None if it is no activity concentration."""
    text = re.sub(r"\s|\[|\]", "", unit).replace("µ", "u").replace("μ", "u").replace("³", "3")
    if text.startswith("mBq"):
        return 1e-3  # in lower case it is milli; all capitals are mega
    match = _ACTIVITY.fullmatch(text.lower())
    if match is None:
        return None
    return _BECQUEREL[match[1]] if match[1] is not None else _CURIE[match[2]]


def is_suv(unit: str) -> bool:
    """Return whether a unit is SUV by body weight."""
    return re.sub(r"[\s_-]", "", unit).lower() in _BODY_WEIGHT_SUV


def _sidecar_files(path: Path) -> list[Path]:
    """Return a file's sidecars, from far to near; within a folder from general to special."""
    stem = stem_of(path)
    beside = sidecar_of(path)
    found = [beside] if beside.is_file() else []
    entities = stem.split("_")
    if entities[-1] != "pet" or len(entities) < 2:
        return found
    for level, folder in enumerate(folders_above(path)):
        applying = []
        for file in folder.glob("*pet.json"):
            parts = file.name.removesuffix(".json").split("_")
            if parts[-1] == "pet" and set(parts) <= set(entities):
                applying.append((len(parts), file.name, file))
        general_first = [file for _, name, file in sorted(applying) if level or name != beside.name]
        found = [*general_first, *found]
    return found
