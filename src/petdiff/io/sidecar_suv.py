"""The factor to SUV from weight, dose and times of a sidecar (keys of BIDS PET, dcm2niix)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from petdiff.io.sidecar import Sidecar
from petdiff.suv.half_life import elapsed_limits_s, remaining
from petdiff.suv.nuclides import half_life_s
from petdiff.suv.result import SIDECAR, SUVResult

_PLAUSIBLE_BQ = (1.0, 1e12)
_PLAUSIBLE_KG = (1e-3, 1000.0)
_PLAUSIBLE_HALF_LIFE_S = (1.0, 1e9)
_LONGEST_FRAME_S = 86_400.0


@dataclass(frozen=True)
class _DoseLeft:
    """The fraction of the dose that is left at the time that the values refer to."""

    fraction: float
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def suv_from_sidecar(unit: str, bqml_per_value: float, sidecar: Sidecar) -> SUVResult | str:
    """Find the factor from values in `unit` to SUV by body weight; or say what is missing.

    factor = Bq/ml per value × weight in g / dose left in Bq, as for DICOM (petdiff.suv).
    """
    nuclide = sidecar.content.get("TracerRadionuclide")
    named = half_life_s(nuclide) if isinstance(nuclide, str) else None
    half_life = named or _within(sidecar.number("RadionuclideHalfLife"), _PLAUSIBLE_HALF_LIFE_S)
    weight_kg = _weight_kg(sidecar)
    dose_bq = _within(sidecar.dose_bq(), _PLAUSIBLE_BQ)
    if weight_kg is None:
        return f"{sidecar.name} has no PatientWeight"
    if dose_bq is None:
        return f"{sidecar.name} has no InjectedRadioactivity with its unit"
    if half_life is None:
        return f"{sidecar.name} has no TracerRadionuclide that is known"
    left = _dose_left(sidecar, half_life)
    if isinstance(left, str):
        return left
    factor = bqml_per_value * 1000 * weight_kg / (dose_bq * left.fraction)
    told = (
        f"values are in {sidecar.unit or unit}, not SUV: SUV = value × {factor:.6g} by weight, "
        f"dose and times in {sidecar.name} (`units` and `suv_factor` overrule it)"
    )
    inputs = {
        "units": sidecar.unit,
        "weight kg": weight_kg,
        "dose MBq": dose_bq / 1e6,
        "half-life s": half_life,
        **left.facts,
    }
    return SUVResult(unit, SIDECAR, factor, {SIDECAR: factor}, 0.0, (told, *left.warnings), inputs)


def _dose_left(sidecar: Sidecar, half_life: float) -> _DoseLeft | str:
    """Find how much of the dose is left; or say what is missing."""
    corrected = _is_corrected(sidecar)
    if corrected == "ADMIN":
        return _DoseLeft(1.0, facts={"decay correction": corrected})
    if corrected is None:
        return f"{sidecar.name} has no ImageDecayCorrected"
    injection, scan = sidecar.number("InjectionStart"), sidecar.number("ScanStart")
    if injection is None or scan is None:
        return f"{sidecar.name} has no InjectionStart and ScanStart"
    reference, warnings, within = scan, [], 1.0
    if corrected == "START":
        stated = sidecar.number("ImageDecayCorrectionTime")
        reference = scan if stated is None else stated
        if stated is None:
            warnings.append(
                f"{sidecar.name} has no ImageDecayCorrectionTime: values are taken to be "
                "corrected to ScanStart"
            )
    else:
        durations = sidecar.content.get("FrameDuration")
        duration = _within(sidecar.number("FrameDuration"), (1e-3, _LONGEST_FRAME_S))
        if duration is None or (isinstance(durations, list) and len(durations) > 1):
            return f"{sidecar.name} says that decay is not corrected, and has no one FrameDuration"
        reference = max(scan, sidecar.number("FrameTimesStart") or scan)
        decayed = math.log(2) * duration / half_life
        within = -math.expm1(-decayed) / decayed  # mean over the frame
    elapsed = reference - injection
    least, most = elapsed_limits_s(half_life)
    if not least <= elapsed <= most:
        return f"{sidecar.name} puts the scan {elapsed:g} s after the injection"
    facts = {"decay correction": corrected, "from injection s": elapsed}
    return _DoseLeft(within * remaining(elapsed, half_life), tuple(warnings), facts)


def _is_corrected(sidecar: Sidecar) -> str | None:
    """START, ADMIN or NONE, as DICOM's DecayCorrection; None where the sidecar does not say."""
    stated = sidecar.content.get("ImageDecayCorrected")
    if isinstance(stated, bool):
        return "START" if stated else "NONE"
    correction = str(sidecar.content.get("DecayCorrection", "")).strip().upper()
    return correction if correction in ("START", "ADMIN", "NONE") else None


def _weight_kg(sidecar: Sidecar) -> float | None:
    weight = sidecar.number("PatientWeight", "BodyWeight")
    if weight is not None and weight > 1000:
        weight /= 1000  # in grams, as in odd DICOM headers
    return _within(weight, _PLAUSIBLE_KG)


def _within(number: float | None, limits: tuple[float, float]) -> float | None:
    return number if number is not None and limits[0] <= number <= limits[1] else None
