"""Compute the factor to SUV from weight, dose and times of a sidecar (BIDS PET, dcm2niix)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from petdiff.io.sidecar import WEIGHTS, Sidecar
from petdiff.suv.half_life import elapsed_limits_s, remaining_fraction
from petdiff.suv.nuclides import half_life_s
from petdiff.suv.result import SIDECAR, SUVResult

_PLAUSIBLE_BQ = (1.0, 1e11)
_PLAUSIBLE_KG = (1e-3, 1000.0)
_PLAUSIBLE_HALF_LIFE_S = (1.0, 1e9)
_HALF_LIFE_TOLERANCE = 0.02  # relative; headers have rounded values
_LONGEST_FRAME_S = 86_400.0
_USUAL_UPTAKE_S = 3600.0


@dataclass(frozen=True)
class _RemainingDose:
    """The fraction of the dose that is left at the reference time; by frame if it differs."""

    fraction: float | NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


def suv_from_sidecar(
    unit: str, bqml_per_value: float, sidecar: Sidecar, frames: int = 1
) -> SUVResult | str:
    """Return the factor from values in `unit` to SUV by body weight, or what is missing for it.

    factor = Bq/ml per value × weight in g / remaining dose in Bq, as for DICOM (petdiff.suv). It is
    an array [frame] for several frames without decay correction.
    """
    half_life, half_life_warnings = _half_life_s(sidecar)
    weight_kg = _weight_kg(sidecar)
    dose_bq = _within(sidecar.dose_bq(), _PLAUSIBLE_BQ)
    if weight_kg is None:
        return f"{sidecar.name} has no PatientWeight"
    if dose_bq is None:
        return f"{sidecar.name} has no InjectedRadioactivity with its unit"
    if half_life is None:
        return f"{sidecar.name} has no known TracerRadionuclide"
    remaining = _remaining_dose(sidecar, half_life, frames)
    if isinstance(remaining, str):
        return remaining
    factor = bqml_per_value * 1000 * weight_kg / (dose_bq * remaining.fraction)
    low, high = float(np.min(factor)), float(np.max(factor))
    shown = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}, by frame,"
    note = (
        f"values are in {sidecar.unit or unit}, not SUV: SUV = value × {shown} by weight, "
        f"dose and times in {sidecar.name} (`units` and `suv_factor` override it)"
    )
    inputs = {
        "units": sidecar.unit,
        "weight kg": weight_kg,
        "dose MBq": dose_bq / 1e6,
        "half-life s": half_life,
        **remaining.facts,
    }
    warnings = (note, *half_life_warnings, *_repairs(sidecar, dose_bq), *remaining.warnings)
    return SUVResult(
        unit, SIDECAR, factor, {SIDECAR: float(np.median(factor))}, 0.0, warnings, inputs
    )


def _half_life_s(sidecar: Sidecar) -> tuple[float | None, list[str]]:
    """Return the half-life in s, as stated or else that of the nuclide, and warnings."""
    nuclide = sidecar.content.get("TracerRadionuclide")
    named = half_life_s(nuclide) if isinstance(nuclide, str) else None
    stated = _within(sidecar.number("RadionuclideHalfLife"), _PLAUSIBLE_HALF_LIFE_S)
    if stated is None or named is None or abs(stated / named - 1) <= _HALF_LIFE_TOLERANCE:
        return stated or named, []
    return named, [
        f"{sidecar.name} has a RadionuclideHalfLife of {stated:g} s, which is not that of "
        f"{nuclide}: {named:g} s is used"
    ]


def _remaining_dose(sidecar: Sidecar, half_life: float, frames: int) -> _RemainingDose | str:
    """Find the remaining fraction of the dose; or return a text that says what is missing."""
    corrected = _is_corrected(sidecar)
    if corrected == "ADMIN":
        return _RemainingDose(1.0, facts={"decay correction": corrected})
    if corrected is None:
        return f"{sidecar.name} has no ImageDecayCorrected"
    injection, scan = sidecar.number("InjectionStart"), sidecar.number("ScanStart")
    if injection is None or scan is None:
        return (
            f"{sidecar.name} has no InjectionStart and ScanStart (seconds from TimeZero; dcm2niix "
            "does not write the first)"
        )
    warnings = []
    if corrected == "START":
        warnings = _time_warnings(sidecar, injection, scan, half_life)
        stated = sidecar.number("ImageDecayCorrectionTime")
        references = np.array([scan if stated is None else stated])
        within = np.ones(1)
    else:
        result = _uncorrected(sidecar, scan, half_life, frames)
        if isinstance(result, str):
            return result
        references, within = result
    elapsed = references - injection
    shortest, longest = elapsed_limits_s(half_life)
    if not shortest <= elapsed.min() <= elapsed.max() <= longest:
        return f"{sidecar.name} puts the scan {elapsed[0]:g} s after the injection"
    facts = {"decay correction": corrected, "from injection s": float(elapsed[0])}
    fraction = within * np.array([remaining_fraction(seconds, half_life) for seconds in elapsed])
    return _RemainingDose(
        float(fraction[0]) if len(fraction) == 1 else fraction, tuple(warnings), facts
    )


def _uncorrected(
    sidecar: Sidecar, scan: float, half_life: float, frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    """Return the start of each frame, and its mean activity over the activity at its start.

    Some converters count FrameTimesStart from ScanStart, so that frames would start before the
    scan; they are then shifted.
    """
    durations = sidecar.numbers("FrameDuration")
    plausible = [_within(duration, (1e-3, _LONGEST_FRAME_S)) for duration in durations]
    if len(durations) != frames or None in plausible:
        return (
            f"{sidecar.name} says that decay is not corrected, and has no FrameDuration for "
            f"{'each of ' + str(frames) + ' frames' if frames > 1 else 'the one frame'}"
        )
    starts = sidecar.numbers("FrameTimesStart")
    if len(starts) != frames:
        if frames > 1:
            return f"{sidecar.name} has no FrameTimesStart for each of {frames} frames"
        starts = [scan]
    corrected = np.array(starts) + max(scan - starts[0], 0.0)
    decayed = np.log(2) * np.array(durations) / half_life
    return corrected, -np.expm1(-decayed) / decayed


def _time_warnings(sidecar: Sidecar, injection: float, scan: float, half_life: float) -> list[str]:
    """Return warnings about times that converters may have made up."""
    warnings = []
    if sidecar.number("ImageDecayCorrectionTime") is None:
        warnings.append(
            f"{sidecar.name} has no ImageDecayCorrectionTime: values are taken to be "
            "corrected to ScanStart"
        )
    durations = sidecar.content.get("FrameDuration")
    if injection == scan and not (isinstance(durations, list) and len(durations) > 1):
        higher = 1 / remaining_fraction(_USUAL_UPTAKE_S, half_life) - 1
        warnings.append(
            f"{sidecar.name} has the same InjectionStart and ScanStart, as pypet2bids writes them "
            "where it does not know the injection: if that was 1 h before the scan, SUV is "
            f"{higher:.0%} higher; correct InjectionStart"
        )
    return warnings


def _repairs(sidecar: Sidecar, dose_bq: float) -> list[str]:
    """Return a warning if the dose is taken in another unit than the stated one."""
    stated = sidecar.number("InjectedRadioactivity")
    unit = sidecar.content.get("InjectedRadioactivityUnits")
    repaired = stated is not None and str(unit).strip().lower() == "mbq" and dose_bq > 2e6 * stated
    if not repaired:
        return []
    return [
        f"{sidecar.name} has an InjectedRadioactivity of {stated:g} {unit}: it is taken as "
        f"{dose_bq / 1e6:g} MBq, which a converter divided by 1e6"
    ]


def _is_corrected(sidecar: Sidecar) -> str | None:
    """Return START, ADMIN or NONE, as DICOM's DecayCorrection; None if not stated.

    dcm2niix writes DecayCorrection besides the key of BIDS, which does not distinguish START and
    ADMIN.
    """
    stated = sidecar.content.get("ImageDecayCorrected")
    correction = str(sidecar.content.get("DecayCorrection", "")).strip().upper()
    if isinstance(stated, bool) and not (stated and correction == "ADMIN"):
        return "START" if stated else "NONE"
    return correction if correction in ("START", "ADMIN", "NONE") else None


def _weight_kg(sidecar: Sidecar) -> float | None:
    weight = sidecar.number(*WEIGHTS)
    if weight is not None and weight > 1000:
        weight /= 1000  # in grams, as in some DICOM headers
    return _within(weight, _PLAUSIBLE_KG)


def _within(number: float | None, limits: tuple[float, float]) -> float | None:
    return number if number is not None and limits[0] <= number <= limits[1] else None
