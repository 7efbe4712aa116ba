"""SUV from DICOM headers: one factor, SUV = stored value × factor, and why that one.

The rules are those of the IBSI manual for SUV computation and of QIBA's vendor-neutral pseudo-code.
Every factor that the headers allow is computed, so that a user sees how much they differ. The
functions need header fields only: no file and no image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused, SUVRefused
from petdiff.suv.body_measures import BODY_MEASURES
from petdiff.suv.decay import Decay, decay_of
from petdiff.suv.half_life import SUV_TOLERANCE
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.result import OTHER_SUV, PHILIPS, STORED, Factor, SUVResult

# Attributes that are the same in all slices of one series, with their DICOM names.
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
_PLAUSIBLE_BQ = (1.0, 1e11)  # a higher one is in kBq or µCi, and was taken as MBq
_PLAUSIBLE_KG = (1e-3, 1000.0)


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
        return _by_philips(slices)
    return _from_activity(slices)


def _by_philips(slices: Sequence[SliceHeader]) -> SUVResult:
    """Use Philips' own factor, and compare it with the factor from weight, dose and times."""
    factor = np.array([s.philips_suv_factor for s in slices], dtype=np.float64)
    used = float(np.median(factor))
    result = SUVResult("CNTS", PHILIPS, _collapsed(factor), {PHILIPS: used})
    try:
        by_activity = _from_activity(slices)
    except SUVRefused:
        return result
    name, other = f"Bq/ml factor, {by_activity.rule}", float(np.median(by_activity.factor))
    spread = abs(other / used - 1)
    warning = (
        f"readings of the header differ by {spread:.1%}: Philips' factor to SUV (7053,1000) "
        f"gives {used:.6g} (used), its factor to Bq/ml (7053,1009) {other:.6g}"
    )
    return replace(
        result,
        candidates={PHILIPS: used, name: other},
        spread=spread,
        warnings=(warning,) if spread > SUV_TOLERANCE else (),
        alternatives=(name,),
    )


def _require_one_calibration(slices: Sequence[SliceHeader]) -> None:
    """Raise an error for slices that cannot be of one series, whose factors would not agree."""
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
    """Return the factor from stored SUV (GML, CM2ML) to SUV by body weight.

    Where SUVType (0054,1006) is empty, GML is by body weight and CM2ML by body surface area.
    """
    suv_type = header.suv_type or ("BSA" if header.units == "CM2ML" else "BW")
    inputs = {**_inputs(header), "SUVType": suv_type}
    if suv_type == "BW":
        return SUVResult(header.units, STORED, 1.0, {STORED: 1.0}, inputs=inputs)
    measure = BODY_MEASURES.get(suv_type)
    if measure is None:
        raise refuse(header, f"SUVType (0054,1006) is {suv_type}, which no rule knows")
    weight_kg, size_m = _weight_kg(header), header.size_m
    if not size_m or size_m <= 0:
        raise refuse(header, f"PatientSize (0010,1020) is absent, and SUVType {suv_type} needs it")
    sexes = header.sex if header.sex in ("M", "F") else "MF"
    bodies_kg = [measure(weight_kg, 100 * size_m, sex) for sex in sexes]
    if not min(bodies_kg) > 0:
        raise refuse(
            header, f"weight and size (0010,1030, 0010,1020) give {suv_type} {bodies_kg[0]:g} kg"
        )
    body_kg = float(np.mean(bodies_kg))
    factor, spread = weight_kg / body_kg, body_kg / min(bodies_kg) - 1
    warnings = list(header.notes)
    if spread > 0:
        warnings.append(
            f"PatientSex (0010,0040) is {header.sex or 'absent'}: the mean of man and woman is "
            f"used, by which SUV may be off by {spread:.1%}"
        )
    return SUVResult(
        header.units, OTHER_SUV, factor, {OTHER_SUV: factor}, spread, tuple(warnings), inputs
    )


def _from_activity(slices: Sequence[SliceHeader]) -> SUVResult:
    """Return the factor weight / dose, with the dose that is left at the time of the values."""
    header = slices[0]
    to_bqml = _bqml_per_stored(slices)
    corrections = header.corrections or ()
    if header.decay_correction != "NONE" and "DECY" not in corrections:
        raise refuse(
            header, "CorrectedImage (0028,0051) lacks DECY, and DecayCorrection is not NONE"
        )
    if header.administrations > 1:
        raise refuse(
            header,
            f"RadiopharmaceuticalInformationSequence (0054,0016) lists {header.administrations} "
            "administrations, and SUV follows from one",
        )
    weight_g, dose_bq = 1000 * _weight_kg(header), header.dose_bq
    if dose_bq is None or not _PLAUSIBLE_BQ[0] <= dose_bq <= _PLAUSIBLE_BQ[1]:
        shown = "absent or no number"
        if dose_bq is not None:
            shown = f"{dose_bq:g} Bq (a value below 1e6 is taken as MBq)"
        raise refuse(header, f"RadionuclideTotalDose (0018,1074) is {shown}")
    decay = decay_of(slices)
    factors = {
        rule: to_bqml * weight_g / (dose_bq * left)
        for rule, left in decay.remaining_fraction.items()
    }
    typical = {rule: float(np.median(factor)) for rule, factor in factors.items()}
    spread, doubt = _spread(decay, typical)
    warnings = [*header.notes, *decay.warnings, *doubt]
    certainty = "ambiguous" if doubt else "repaired or assumed" if warnings else "consistent"
    inputs = {**_inputs(header), **decay.facts, "times": certainty}
    factor = _collapsed(np.asarray(factors[decay.rule], dtype=np.float64))
    return SUVResult(
        unit=header.units,
        rule=decay.rule,
        factor=factor,
        candidates=typical,
        spread=spread,
        warnings=tuple(warnings),
        inputs=inputs,
        alternatives=decay.alternatives,
    )


def _spread(decay: Decay, typical: Mapping[str, float]) -> tuple[float, list[str]]:
    """Return the largest relative difference of the alternatives, with a warning if it is large."""
    used = typical[decay.rule]
    differences = {name: abs(typical[name] / used - 1) for name in decay.alternatives}
    farthest = max(differences, key=lambda name: differences[name], default=decay.rule)
    spread = differences.get(farthest, 0.0)
    if spread <= SUV_TOLERANCE:
        return spread, []
    return spread, [
        f"readings of the header differ by {spread:.1%}: {decay.rule} gives {used:.6g} (used), "
        f"{farthest} {typical[farthest]:.6g}"
    ]


def _bqml_per_stored(slices: Sequence[SliceHeader]) -> Factor:
    """Return the factor from the stored unit to Bq/ml, where the unit has one."""
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
        if "DCAL" in (header.corrections or ()):
            if header.voxel_ml:
                return 1 / header.voxel_ml
            raise refuse(
                header,
                "Units (0054,1001) is CPS, calibrated per voxel (DCAL), and PixelSpacing "
                "(0028,0030) or SliceThickness (0018,0050) is absent",
            )
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
        shown = "absent or no number" if weight_kg is None else f"{weight_kg:g} kg"
        raise refuse(header, f"PatientWeight (0010,1030) is {shown}")
    return weight_kg


def _collapsed(factor: NDArray[np.float64]) -> Factor:
    """Return one float where all slices agree."""
    first = float(factor.flat[0])
    return first if np.all(factor == first) else factor


def _inputs(header: SliceHeader) -> dict[str, object]:
    return {
        "units": header.units,
        "decay correction": header.decay_correction or None,
        "weight kg": header.weight_kg,
        "dose MBq": header.dose_bq / 1e6 if header.dose_bq else None,
        "half-life s": header.half_life_s,
    }
