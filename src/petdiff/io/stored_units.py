"""Find the unit of a file without PET headers, and its factor to SUV.

The caller's options have priority, then the sidecar, then the range of the values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from petdiff.image import spacing_of
from petdiff.io.sidecar import Sidecar, bqml_per_unit, is_suv
from petdiff.io.sidecar_suv import suv_from_sidecar
from petdiff.suv.result import SUVResult, WithoutSUV, given_factor, stored_as_suv
from petdiff.volume.regions import body_mean

# Where all activity stays in the body and tissue weighs as water, the mean SUV of the body is 1 by
# definition; short scans of hot or cold parts reach 3 and 0.3. In Bq/ml it is thousands.
_MAX_SUV = 100.0
_USUAL_SUV = (0.05, 20.0)
REMEDY = (
    "give `units` bqml and `suv_factor` F (SUV = value × F), or `units` suv if the values are SUV"
)


@dataclass(frozen=True)
class UnitEvidence:
    """The information about the unit of a scan.

    name               of the scan's file, for messages
    units, suv_factor  the caller's options, as in petdiff.read
    sidecar            None if there is none
    frames             number of frames in the file
    """

    name: str
    units: str | None = None
    suv_factor: float | None = None
    sidecar: Sidecar | None = None
    frames: int = 1


def find_unit(
    evidence: UnitEvidence, values: NDArray[np.float32], affine: NDArray[np.float64]
) -> SUVResult | WithoutSUV:
    """Find the unit of stored values [i, j, k], and their factor to SUV, if any."""
    mean = body_mean(values, spacing_of(affine))
    if evidence.units == "suv":
        return _checked(stored_as_suv(), mean, evidence.name)
    if evidence.suv_factor is not None:
        return _checked(
            given_factor(_stated_unit(evidence), evidence.suv_factor), mean, evidence.name
        )
    sidecar = evidence.sidecar
    if evidence.units == "bqml":
        return _in_unit("Bq/ml", "the caller", mean, evidence)
    if sidecar is not None and sidecar.unit:
        return _in_unit(sidecar.unit, sidecar.name, mean, evidence)
    if mean <= _MAX_SUV:
        return _checked(stored_as_suv(), mean, evidence.name)
    return _without(
        "",
        f"nothing states the unit of {evidence.name}, and the mean of the body is {mean:.4g}, "
        "which is not SUV: probably Bq/ml",
    )


def _in_unit(unit: str, by: str, mean: float, evidence: UnitEvidence) -> SUVResult | WithoutSUV:
    """Return the result for a stated unit; `by` names its source."""
    if is_suv(unit):
        if mean > _MAX_SUV:
            return _without(
                "", f"{by} gives the unit {unit}, but the mean of the body is {mean:.4g}"
            )
        kind = str((evidence.sidecar or Sidecar("", {})).content.get("SUVType") or "BW").upper()
        if kind != "BW":
            return _without(unit, f"{by} gives the SUVType {kind}, not SUV by body weight")
        return _checked(stored_as_suv(), mean, evidence.name)
    to_bqml = bqml_per_unit(unit)
    if to_bqml is None:
        return _without(unit, f"{by} gives the unit {unit}, from which no rule leads to SUV")
    label = _label(unit)
    if evidence.sidecar is None:
        return _without(label, f"{evidence.name} has no sidecar with weight, dose and times")
    result = suv_from_sidecar(label, to_bqml, evidence.sidecar, evidence.frames)
    if isinstance(result, str):
        return _without(label, f"{by} gives the unit {unit}, and {result}")
    return _checked(result, mean, evidence.name)


def _stated_unit(evidence: UnitEvidence) -> str:
    """Return the unit of the stored values by the caller or the sidecar; empty if none says it."""
    if evidence.units == "bqml":
        return "BQML"
    return "" if evidence.sidecar is None else _label(evidence.sidecar.unit)


def _label(unit: str) -> str:
    """Return a unit as DICOM names it, or as it is where DICOM has no name for it."""
    if is_suv(unit):
        return "GML"
    return "BQML" if bqml_per_unit(unit) == 1 else unit


def _without(unit: str, reason: str) -> WithoutSUV:
    return WithoutSUV(unit, reason, (f"values are taken as stored; to have SUV, {REMEDY}",))


def _checked(result: SUVResult, mean: float, name: str) -> SUVResult:
    """Return the result, with a warning if the body's mean SUV is unusual."""
    suv = mean * float(np.median(result.factor))
    low, high = _USUAL_SUV
    if mean <= 0 or low <= suv <= high:
        return result
    warning = (
        f"{name}: the mean SUV of the body is {suv:.3g} (usual: {low:g} to {high:g}): is the unit "
        f"right? It is used because {result.reason}"
    )
    return replace(result, warnings=(*result.warnings, warning))
