"""Body measures that SUV may be normalised by instead of body weight, as a mass in kg."""

from __future__ import annotations

from collections.abc import Callable


def _james_kg(coefficient: float) -> Callable[[float, float, str], float]:
    """Return lean body mass by James; the coefficient for men is given as 120 or as 128."""

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
    """Return the body surface area in 1000 cm²: 0.007184 m² · W^0.425 · H^0.725 (Du Bois).

    A weight in kg divided by this area is in g/cm², the unit of SUV by body surface area.
    """
    return 0.07184 * float(weight_kg**0.425 * size_cm**0.725)


# What a stored SUV may be normalised by: SUVType (DICOM PS3.3 C.8.9.1, formulas in PS3.16 CID 85).
BODY_MEASURES: dict[str, Callable[[float, float, str], float]] = {
    "LBM": _james_kg(120),
    "LBMJAMES128": _james_kg(128),
    "LBMJANMA": _janmahasatian_kg,
    "IBW": _ideal_kg,
    "BSA": _du_bois_1000_cm2,
}
