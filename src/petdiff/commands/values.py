"""Parse the text of options. Errors name the option."""

from __future__ import annotations

from petdiff.errors import UsageError
from petdiff.units import drf_of


def millimetres(text: str | None) -> tuple[float, float, float] | None:
    """Return three sizes in mm from "1.65,1.65,2", or from one number."""
    if text is None:
        return None
    sizes = numbers(text, "--voxel-size")
    if len(sizes) not in (1, 3):
        raise UsageError(f"--voxel-size {text}: give one size or three, X,Y,Z, in mm")
    x, y, z = sizes * 3 if len(sizes) == 1 else sizes
    return x, y, z


def low_dose(share: str, remedy: str = "") -> float:
    """Return the dose reduction factor of a share. Raises UsageError for the full dose.

    remedy  what else to do where the scan is of the full dose, for the message
    """
    drf = drf_of(share)
    if drf <= 1:
        raise UsageError(
            f"--dose {share} is the full dose: give a share between 0 and 1, as 1/4, 25% or 0.25"
            f"{remedy}"
        )
    return drf


def interval_level(level: float | None) -> float | None:
    """Return the level of intervals. Raises UsageError for a level that is no share."""
    if level is None or 0 < level < 1:
        return level
    hint = f", {level / 100:g} perhaps" if 1 < level < 100 else ", as 0.9"
    raise UsageError(f"--interval {level:g}: give a level between 0 and 1{hint}")


def doses(text: str | None) -> tuple[float, ...] | None:
    """Return the dose reduction factors of shares that are separated by commas."""
    return None if text is None else tuple(map(drf_of, text.split(",")))


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Return numbers that are separated by commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: give numbers separated by commas") from None
