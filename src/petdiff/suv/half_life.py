"""How radioactive decay changes SUV with time, and which time differences are plausible."""

from __future__ import annotations

import math

LONG_LIVED_S = 41_400.0  # 11.5 h; from here on the day of the injection matters (IBSI manual)
MAX_HALF_LIVES = 8  # by then 0.4 % of the activity is left: not a scan, but a wrong clock
PLAUSIBLE_S = (1.0, 1e9)  # from shorter than any tracer's to 30 years
SUV_TOLERANCE = 0.01  # two readings of a header whose SUV differ by less count as one
LONGEST_FRAME_S = 86_400.0
_MAX_BEFORE_INJECTION_S = 3600.0


def elapsed_limits_s(half_life_s: float) -> tuple[float, float]:
    """Return the shortest and the longest time in seconds from the injection to a scan.

    A dynamic scan may start up to 1 h before the injection (IBSI manual). No scan starts more than
    8 half-lives before or after it.
    """
    max_s = MAX_HALF_LIVES * half_life_s
    return -min(_MAX_BEFORE_INJECTION_S, max_s), max_s


def remaining_fraction(elapsed_s: float, half_life_s: float) -> float:
    """Return the fraction of the activity that is left; above 1 before the injection."""
    return float(2 ** (-elapsed_s / half_life_s))


def suv_change(seconds: float, half_life_s: float) -> float:
    """Return the relative change of SUV if a time is wrong by so many seconds."""
    return float(2 ** min(abs(seconds) / half_life_s, 1000.0)) - 1


def average_rate_time_s(duration_s: float, half_life_s: float) -> float:
    """Return when, after the start of a frame, the count rate equals the frame's average.

    T_ave = ln(λT / (1 − e^(−λT))) / λ (DICOM PS3.3 C.8.9.4.1.5; IBSI manual).
    """
    decay_rate = math.log(2) / half_life_s
    frame = decay_rate * duration_s
    return math.log(frame / -math.expm1(-frame)) / decay_rate


def is_plausible_duration(duration_s: float | None) -> bool:
    """Return whether a frame's duration is known and is between 1 ms and a day."""
    return duration_s is not None and 1e-3 <= duration_s <= LONGEST_FRAME_S
