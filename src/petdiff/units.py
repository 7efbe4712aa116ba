"""Conversion of units and dose shares to and from text."""

from __future__ import annotations

import math

from petdiff.errors import UsageError

# FWHM of a Gaussian over its standard deviation, 2 √(2 ln 2).
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def drf_of(share: str) -> float:
    """Return the dose reduction factor of a share of the full dose: 4 for "1/4", "25%" or "0.25".

    Raises UsageError for a text that is no share above 0 and up to 1.
    """
    text = share.strip()
    try:
        if text.endswith("%"):
            value = float(text[:-1]) / 100
        else:
            above, _, below = text.partition("/")
            value = float(above) / (float(below) if below else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if 0 < value <= 1 and math.isfinite(1 / value):
        return 1 / value
    hint = f", 1/{value:g} perhaps" if 1 < value < math.inf and "/" not in text else ""
    raise UsageError(f"`drf` {share}: give a share of the full dose, as 1/4, 25% or 0.25{hint}")


def share_of(drf: float) -> str:
    """Return a dose reduction factor as a share of the full dose: "1/20" for 20."""
    return f"1/{drf:.4g}"


def duration(seconds: float) -> str:
    """Return a time as text: 45 s, 12 min, 7.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def significant(value: float, digits: int) -> str:
    """Return a number with `digits` significant digits, without exponent if it is large."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


def with_minus(number: str) -> str:
    """Return the text of a number with a typographic minus sign."""
    return number.replace("-", "\N{MINUS SIGN}")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: 1 patient, 2 patients. `plural` is by default noun + "s"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
