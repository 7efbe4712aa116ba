"""Parse the text of options. Errors name the option."""

from __future__ import annotations

from petdiff.errors import UsageError
from petdiff.units import drf_of


def millimetres(text: str | None) -> tuple[float, float, float] | None:
    """Return three sizes in mm from "1.65,1.65,2", or from one number."""
    if text is None:
        return None
    sizes = numbers(text, "--voxel-size")
    if len(sizes) not in (1, 3) or not all(0.2 <= size <= 50 for size in sizes):
        raise UsageError(f"--voxel-size {text}: give one size or three, X,Y,Z, 0.2 to 50 mm each")
    x, y, z = sizes * 3 if len(sizes) == 1 else sizes
    return x, y, z


def low_dose(text: str | None) -> float | None:
    """Return the dose reduction factor of a share. Raises UsageError for the full dose."""
    if text is None:
        return None
    drf = drf_of(text)
    if drf <= 1:
        raise UsageError(
            f"--dose {text} is the full dose: give a share below it, as 1/4, or leave it out "
            "where a full-dose scan is denoised"
        )
    return drf


def doses(text: str | None) -> tuple[float, ...] | None:
    """Return the dose reduction factors of shares that are separated by commas."""
    return None if text is None else tuple(map(drf_of, text.split(",")))


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Return numbers that are separated by commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: give numbers separated by commas") from None
