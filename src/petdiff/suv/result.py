"""The result of the SUV rules: a factor and its reason, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from petdiff.suv.decay import ADMINISTERED, UNCORRECTED
from petdiff.suv.timing import FIRST_TIME, FRAME_TIME, GE_TIME, SERIES_TIME

Factor = float | NDArray[np.float64]

GIVEN = "given"
STORED = "stored as SUV"
OTHER_SUV = "other SUV"
SIDECAR = "sidecar"  # of BIDS or dcm2niix
PHILIPS = "Philips SUV factor"

REASONS = {
    GIVEN: "the factor was given by the caller; no rule was applied",
    STORED: "the stored values are body-weight SUV",
    SIDECAR: "the file beside the scan gives unit, weight, dose and times",
    OTHER_SUV: "the stored values are SUV by another measure of the body than its weight",
    PHILIPS: "units are CNTS, and Philips gives counts → SUV in (7053,1000)",
    ADMINISTERED: "DecayCorrection is ADMIN: the values refer to the time of injection",
    UNCORRECTED: "DecayCorrection is NONE: each slice is corrected from injection to its own "
    "start and within its frame",
    SERIES_TIME: "DecayCorrection is START, and the series starts no later than its first slice",
    GE_TIME: "DecayCorrection is START, and GE keeps that time in (0009,100D)",
    FRAME_TIME: "DecayCorrection is START, and FrameReferenceTime counts from there to the moment "
    "of the frame's average count rate",
    FIRST_TIME: "DecayCorrection is START, and no clock says when that was: the earliest slice",
}


@dataclass(frozen=True)
class SUVResult:
    """The factor from stored values to body-weight SUV (g/ml), and where it comes from.

    factor        a float, or float64 [slice] in the order of the headers where slices differ
    candidates    factor of every reading that the headers allow (the median over slices)
    alternatives  names of the candidates that are as plausible as the rule that was used
    spread        largest relative difference between `factor` and an alternative
    """

    unit: str
    rule: str
    factor: Factor
    candidates: Mapping[str, float]
    spread: float = 0.0
    warnings: tuple[str, ...] = ()
    inputs: Mapping[str, object] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The reason for this rule, in a sentence."""
        return REASONS[self.rule]

    def as_dict(self) -> dict[str, object]:
        """Return the result with values that JSON can hold."""
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
    """The reason why a scan has no SUV, and the unit of its stored values."""

    unit: str
    reason: str
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the reason with the keys of SUVResult.as_dict, for JSON."""
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


def given_factor(unit: str, factor: float) -> SUVResult:
    """Return the result for the caller's own factor, SUV = stored value × factor."""
    return SUVResult(unit, GIVEN, float(factor), {GIVEN: float(factor)})


def stored_as_suv(unit: str = "GML") -> SUVResult:
    """Return the result for values that are body-weight SUV."""
    return SUVResult(unit, STORED, 1.0, {STORED: 1.0})


def explain(result: SUVResult) -> str:
    """Return the result as lines of text, for a person."""
    low, high = float(np.min(result.factor)), float(np.max(result.factor))
    shown = f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g} (differs by slice or frame)"
    unit = f" ({result.unit})" if result.unit else ""
    lines = [f"SUV = stored value{unit} × {shown}"]
    lines += _columns({"rule": f"{result.rule}: {result.reason}", **_inputs(result)})
    if len(result.candidates) > 1:
        lines += ["readings of the header", *_columns(_readings(result), "  ")]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in result.warnings)])


def _inputs(result: SUVResult) -> dict[str, str]:
    """Return what the factor was computed from; the readings have lines of their own."""
    known = {k: v for k, v in result.inputs.items() if v is not None and not isinstance(v, Mapping)}
    return {name: f"{v:.6g}" if isinstance(v, float) else str(v) for name, v in known.items()}


def _readings(result: SUVResult) -> dict[str, str]:
    """Return a line per reading: its factor, its difference from the one used, its time."""
    used = result.candidates[result.rule]
    times = result.inputs.get("reference")
    known = times if isinstance(times, Mapping) else {}
    lines = {}
    for name, factor in result.candidates.items():
        status = "another admissible reading" if name in result.alternatives else "set aside"
        if name == result.rule:
            status = "used"
        moment = str(known.get(name, "")).replace("T", " ")
        lines[name] = f"{factor:<12.6g} {factor / used - 1:>+9.2%}   {status}   {moment}".rstrip()
    return lines


def _columns(rows: Mapping[str, str], indent: str = "") -> list[str]:
    width = max(map(len, rows), default=0) + 2
    return [f"{indent}{name:<{width}}{value}" for name, value in rows.items()]
