"""Half-lives of positron emitters by name."""

from __future__ import annotations

import re

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

# ICRP Publication 107 (2008), by element and mass number.
HALF_LIFE_S = {
    "C11": 20.39 * _MINUTE,
    "N13": 9.965 * _MINUTE,
    "O15": 122.24,
    "F18": 109.77 * _MINUTE,
    "NA22": 2.6019 * 365.2422 * _DAY,
    "SC43": 3.891 * _HOUR,
    "SC44": 3.97 * _HOUR,
    "MN52": 5.591 * _DAY,
    "CO55": 17.53 * _HOUR,
    "CU60": 23.7 * _MINUTE,
    "CU61": 3.333 * _HOUR,
    "CU62": 9.673 * _MINUTE,
    "CU64": 12.7 * _HOUR,
    "GA66": 9.49 * _HOUR,
    "GA68": 67.71 * _MINUTE,
    "GE68": 270.95 * _DAY,
    "BR76": 16.2 * _HOUR,
    "RB82": 1.273 * _MINUTE,
    "Y86": 14.74 * _HOUR,
    "Y90": 64.1 * _HOUR,
    "ZR89": 78.41 * _HOUR,
    "I124": 4.176 * _DAY,
    "TB152": 17.5 * _HOUR,
}
# Names of DICOM's code meanings (CID 4020), which converters hand on: ^18^Fluorine.
_SYMBOL = {
    "CARBON": "C", "NITROGEN": "N", "OXYGEN": "O", "FLUORINE": "F", "SODIUM": "NA",
    "SCANDIUM": "SC", "MANGANESE": "MN", "COBALT": "CO", "COPPER": "CU", "GALLIUM": "GA",
    "GERMANIUM": "GE", "BROMINE": "BR", "RUBIDIUM": "RB", "YTTRIUM": "Y", "ZIRCONIUM": "ZR",
    "IODINE": "I", "TERBIUM": "TB",
}  # fmt: skip
_MASS = re.compile(r"(\d{1,3})")


def half_life_s(nuclide: str) -> float | None:
    """Return the half-life in seconds of F18, 18F, [18F] or ^18^Fluorine; None if not known."""
    letters = "".join(re.findall("[A-Za-z]+", nuclide)).upper()
    letters, mass = _SYMBOL.get(letters, letters), _MASS.search(nuclide)
    return HALF_LIFE_S.get(f"{letters}{mass[1]}") if mass else None
