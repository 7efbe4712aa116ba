"""SUV from DICOM headers: one factor, SUV = stored value × factor, and why that one.

The rules are those of the IBSI manual for SUV computation and of QIBA's vendor-neutral pseudo-code.
Every candidate that the headers allow is computed, so that a reader sees how far they lie apart.
Pure functions over header fields: no file, no image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.suv.decay import ADMINISTERED, UNCORRECTED, Decay, decay_of
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.timing import FIRST_TIME, FRAME_TIME, GE_TIME, SAME, SERIES_TIME

Factor = float | NDArray[np.float64]

SIDECAR = "sidecar"  # of BIDS or dcm2niix

REASONS = {
    "given": "the factor was given by the caller; no rule was applied",
    "stored as SUV": "the stored values are body-weight SUV",
    SIDECAR: "the file beside the scan gives unit, weight, dose and times",
    "other SUV": "the stored values are SUV by another measure of the body than its weight",
    "Philips SUV factor": "units are CNTS, and Philips gives counts → SUV in (7053,1000)",
    ADMINISTERED: "DecayCorrection is ADMIN: the values refer to the time of injection",
    UNCORRECTED: "DecayCorrection is NONE: each slice is corrected from injection to its own "
    "start and within its frame",
    SERIES_TIME: "DecayCorrection is START, and the series starts no later than its first slice",
    GE_TIME: "DecayCorrection is START, and GE keeps that time in (0009,100D)",
    FRAME_TIME: "DecayCorrection is START, and FrameReferenceTime counts from there to the moment "
    "of the frame's average count rate",
    FIRST_TIME: "DecayCorrection is START, and no clock says when that was: the earliest slice",
}

# Attributes that are the same in all slices of one series, with the name that a person knows.
_CONSTANT = {
    "units": "Units (0054,1001)",
    "suv_type": "SUVType (0054,1006)",
    "decay_correction": "DecayCorrection (0054,1102)",
    "weight_kg": "PatientWeight (0010,1030)",
    "dose_bq": "RadionuclideTotalDose (0018,1074)",
    "half_life_s": "RadionuclideHalfLife (0018,1075)",
    "injection": "RadiopharmaceuticalStartDateTime (0018,1078)",
    "injection_clock": "RadiopharmaceuticalStartTime (0018,1072)",
    "zone": "TimezoneOffsetFromUTC (0008,0201)",
}
_PLAUSIBLE_BQ = (1.0, 1e12)
_PLAUSIBLE_KG = (1e-3, 1000.0)


@dataclass(frozen=True)
class SUVResult:
    """The factor from stored values to body-weight SUV (g/ml), and where it comes from.

    factor is a float, or float64 [slice] in the order of the headers where slices differ;
    candidates holds every reading that the headers allow (the median over slices); spread is the
    largest relative difference from `factor` among those that are as admissible as the rule used.
    """

    unit: str
    rule: str
    factor: Factor
    candidates: Mapping[str, float]
    spread: float = 0.0
    warnings: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why this rule, in a sentence."""
        return REASONS[self.rule]

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able."""
        return {
            "unit": self.unit,
            "rule": self.rule,
            "reason": self.reason,
            "factor": np.asarray(self.factor).tolist(),
            "candidates": dict(self.candidates),
            "spread": self.spread,
            "warnings": list(self.warnings),
            "inputs": dict(self.inputs),
        }


@dataclass(frozen=True)
class WithoutSUV:
    """Why the stored values of a scan lead to no SUV; `unit` is what they are in."""

    unit: str
    reason: str
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the same with the keys of SUVResult.as_dict, JSON-able."""
        return {
            "unit": self.unit,
            "rule": None,
            "reason": self.reason,
            "factor": None,
            "candidates": {},
            "spread": 0.0,
            "warnings": list(self.warnings),
            "inputs": {},
        }


def explain(result: SUVResult) -> str:
    """Return the result as lines of text, for a person."""
    low, high = float(np.min(result.factor)), float(np.max(result.factor))
    shown = f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g} (differs by slice)"
    lines = [
        f"SUV = stored value ({result.unit}) × {shown}",
        f"rule: {result.rule}: {result.reason}",
    ]
    if len(result.candidates) > 1:
        used = result.candidates[result.rule]
        lines.append("candidates:")
        width = max(map(len, result.candidates)) + 2
        lines += [
            f"  {n:<{width}}{f:.6g}  {f / used - 1:+.2%}" for n, f in result.candidates.items()
        ]
    lines += [f"{name}: {value}" for name, value in result.inputs.items() if value is not None]
    lines += [f"warning: {warning}" for warning in result.warnings]
    return "\n".join(lines)


def given_factor(unit: str, factor: float) -> SUVResult:
    """Return the result for the caller's own factor, SUV = stored value × factor."""
    return SUVResult(unit, "given", float(factor), {"given": float(factor)})


def stored_as_suv(unit: str = "GML") -> SUVResult:
    """Return the result for values that are body-weight SUV."""
    return SUVResult(unit, "stored as SUV", 1.0, {"stored as SUV": 1.0})


def suv_from_headers(slices: Sequence[SliceHeader]) -> SUVResult:
    """Find the SUV factor of one PET series from the headers of all its slices.

    Raises SUVRefused, naming the attribute, where a rule lacks what it needs, and InputRefused
    where the slices cannot be of one series.
    """
    _require_one_calibration(slices)
    header = slices[0]
    if "ATTN" not in (header.corrections or ()):
        raise refuse(header, "CorrectedImage (0028,0051) is absent or lacks ATTN")
    for one in slices:
        if one.rescale_intercept != 0:
            shown = f"{one.rescale_intercept:g}"
            raise refuse(one, f"RescaleIntercept (0028,1052) is {shown}, not 0")
    if header.units in ("GML", "CM2ML"):
        return _from_stored_suv(header)
    if header.units == "CNTS" and all(s.philips_suv_factor for s in slices):
        factor = np.array([s.philips_suv_factor for s in slices], dtype=np.float64)
        rule = "Philips SUV factor"
        return SUVResult("CNTS", rule, _collapsed(factor), {rule: float(np.median(factor))})
    return _from_activity(slices)


def _require_one_calibration(slices: Sequence[SliceHeader]) -> None:
    """Refuse slices that cannot be of one series: their factors would not belong together."""
    for header in slices[1:]:
        for name, tag in _CONSTANT.items():
            first, other = getattr(slices[0], name), getattr(header, name)
            if bool(first) != bool(other):
                lacking, whole = (slices[0], header) if other else (header, slices[0])
                raise InputRefused(
                    f"{lacking.name} lacks {tag}, which {whole.name} has: truncated? "
                    "Remove it, or get it again"
                )
            if first != other:
                differing = f"{tag} is not the same as in {slices[0].name}"
                if name == "units":
                    raise InputRefused(f"{header.name}: {differing}, so it is not one volume")
                raise refuse(header, differing)


def _from_stored_suv(header: SliceHeader) -> SUVResult:
    """Turn GML and CM2ML, which are SUV already, into SUV by body weight.

    They are by body weight, or by body surface for CM2ML, where SUVType (0054,1006) is empty.
    """
    suv_type = header.suv_type or ("BSA" if header.units == "CM2ML" else "BW")
    inputs = {**_inputs(header), "SUVType": suv_type}
    if suv_type == "BW":
        return SUVResult(header.units, "stored as SUV", 1.0, {"stored as SUV": 1.0}, inputs=inputs)
    measure = _BODY_MEASURES.get(suv_type)
    if measure is None:
        raise refuse(header, f"SUVType (0054,1006) is {suv_type}, which no rule knows")
    weight_kg, size_m = _weight_kg(header), header.size_m
    if not size_m or size_m <= 0:
        raise refuse(header, f"PatientSize (0010,1020) is absent, and SUVType {suv_type} needs it")
    warnings: tuple[str, ...] = ()
    if header.sex in ("M", "F"):
        body_kg = measure(weight_kg, 100 * size_m, header.sex)
    else:
        body_kg = sum(measure(weight_kg, 100 * size_m, sex) for sex in "MF") / 2
        if suv_type != "BSA":
            shown = header.sex or "absent"
            warnings = (f"PatientSex (0010,0040) is {shown}: the mean of man and woman is used",)
    if not body_kg > 0:
        raise refuse(
            header, f"weight and size (0010,1030, 0010,1020) give {suv_type} {body_kg:g} kg"
        )
    factor = weight_kg / body_kg
    return SUVResult(
        header.units, "other SUV", factor, {"other SUV": factor}, 0.0, warnings, inputs
    )


def _james_kg(coefficient: float) -> Callable[[float, float, str], float]:
    """Lean body mass by James; the man's coefficient is printed as 120 and as 128."""

    def lean_kg(weight_kg: float, size_cm: float, sex: str) -> float:
        slope, curve = (1.10, coefficient) if sex == "M" else (1.07, 148.0)
        return slope * weight_kg - curve * (weight_kg / size_cm) ** 2

    return lean_kg


def _janmahasatian_kg(weight_kg: float, size_cm: float, sex: str) -> float:
    base, slope = (6680, 216) if sex == "M" else (8780, 244)
    return 9270 * weight_kg / (base + slope * weight_kg / (size_cm / 100) ** 2)


def _ideal_kg(weight_kg: float, size_cm: float, sex: str) -> float:
    return 48.0 + 1.06 * (size_cm - 152) if sex == "M" else 45.5 + 0.91 * (size_cm - 152)


def _du_bois_1000_cm2(weight_kg: float, size_cm: float, sex: str) -> float:
    """Body surface: 0.007184 m² · W^0.425 · H^0.725; kg over 1000 cm² is the g/cm² wanted."""
    return 0.07184 * float(weight_kg**0.425 * size_cm**0.725)


# What a stored SUV may be normalised by: SUVType (DICOM PS3.3 C.8.9.1, formulas in PS3.16 CID 85).
_BODY_MEASURES: dict[str, Callable[[float, float, str], float]] = {
    "LBM": _james_kg(120),
    "LBMJAMES128": _james_kg(128),
    "LBMJANMA": _janmahasatian_kg,
    "IBW": _ideal_kg,
    "BSA": _du_bois_1000_cm2,
}


def _from_activity(slices: Sequence[SliceHeader]) -> SUVResult:
    """Return Bq/ml times weight, over the dose left at the time that the values refer to."""
    header = slices[0]
    to_bqml = _bqml_per_stored(slices)
    corrections = header.corrections or ()
    if header.decay_correction != "NONE" and "DECY" not in corrections:
        raise refuse(
            header, "CorrectedImage (0028,0051) lacks DECY, and DecayCorrection is not NONE"
        )
    weight_g, dose_bq = 1000 * _weight_kg(header), header.dose_bq
    if dose_bq is None or not _PLAUSIBLE_BQ[0] <= dose_bq <= _PLAUSIBLE_BQ[1]:
        shown = "absent" if dose_bq is None else f"{dose_bq:g} Bq"
        raise refuse(header, f"RadionuclideTotalDose (0018,1074) is {shown}")
    decay = decay_of(slices)
    factors = {
        rule: to_bqml * weight_g / (dose_bq * left) for rule, left in decay.remaining.items()
    }
    typical = {rule: float(np.median(factor)) for rule, factor in factors.items()}
    spread, doubt = _spread(decay, typical)
    warnings = [*header.notes, *decay.warnings, *doubt]
    certainty = "ambiguous" if doubt else "repaired or assumed" if warnings else "consistent"
    inputs = {**_inputs(header), **decay.facts, "header": certainty}
    factor = _collapsed(np.asarray(factors[decay.rule], dtype=np.float64))
    return SUVResult(header.units, decay.rule, factor, typical, spread, tuple(warnings), inputs)


def _spread(decay: Decay, typical: Mapping[str, float]) -> tuple[float, list[str]]:
    """Return by how much admissible readings differ from the one used, and the warning for it."""
    used = typical[decay.rule]
    apart = {name: abs(typical[name] / used - 1) for name in decay.doubted}
    farthest = max(apart, key=lambda name: apart[name], default=decay.rule)
    spread = apart.get(farthest, 0.0)
    if spread <= SAME:
        return spread, []
    return spread, [
        f"readings of the header differ by {spread:.1%}: {decay.rule} gives {used:.6g} (used), "
        f"{farthest} {typical[farthest]:.6g}"
    ]


def _bqml_per_stored(slices: Sequence[SliceHeader]) -> Factor:
    """Return the factor from the stored unit to Bq/ml, for the units that have one."""
    header = slices[0]
    if header.units == "BQML":
        return 1.0
    if header.units == "CNTS":
        if not all(s.philips_bqml_factor for s in slices):
            raise refuse(
                header,
                "Units (0054,1001) is CNTS, and neither the factor to SUV (7053,1000) nor the one "
                "to Bq/ml (7053,1009) is there",
            )
        return np.array([s.philips_bqml_factor for s in slices], dtype=np.float64)
    if header.units == "CPS":
        # Calibrated counts are Bq per voxel; others lack the scanner's calibration.
        if "DCAL" in (header.corrections or ()) and header.voxel_ml:
            return 1 / header.voxel_ml
        if header.dose_calibration:
            return header.dose_calibration
        raise refuse(
            header, "Units (0054,1001) is CPS, and DoseCalibrationFactor (0054,1322) is absent"
        )
    raise refuse(
        header,
        f"Units (0054,1001) is {header.units or 'absent'}, from which no rule leads to SUV",
    )


def _weight_kg(header: SliceHeader) -> float:
    weight_kg = header.weight_kg
    if weight_kg is None or not _PLAUSIBLE_KG[0] <= weight_kg <= _PLAUSIBLE_KG[1]:
        shown = "absent" if weight_kg is None else f"{weight_kg:g} kg"
        raise refuse(header, f"PatientWeight (0010,1030) is {shown}")
    return weight_kg


def _collapsed(factor: NDArray[np.float64]) -> Factor:
    """Return one float where all slices agree."""
    first = float(factor.flat[0])
    return first if np.all(factor == first) else factor


def _inputs(header: SliceHeader) -> dict[str, Any]:
    return {
        "units": header.units,
        "decay correction": header.decay_correction or None,
        "weight kg": header.weight_kg,
        "dose MBq": header.dose_bq / 1e6 if header.dose_bq else None,
        "half-life s": header.half_life_s,
    }
