"""What radioactive decay makes of a difference in time, and which differences are plausible."""

from __future__ import annotations

import math

LONG_LIVED_S = 41_400.0  # 11.5 h; from here on the day of the injection matters (IBSI manual)
MAX_HALF_LIVES = 8  # by then 0.4 % of the activity is left: not a scan, but a wrong clock
PLAUSIBLE_S = (1.0, 1e9)  # from shorter than any tracer's to 30 years
SAME = 0.01  # relative change of SUV up to which two readings of a header count as one
LONGEST_FRAME_S = 86_400.0
_MAX_BEFORE_INJECTION_S = 3600.0


def elapsed_limits_s(half_life_s: float) -> tuple[float, float]:
    """Return the least and the most seconds from the injection to a scan.

    A scan starts at most 1 h before the injection, that is in a dynamic acquisition (IBSI manual),
    and at most 8 half-lives before or after it.
    """
    longest_s = MAX_HALF_LIVES * half_life_s
    return -min(_MAX_BEFORE_INJECTION_S, longest_s), longest_s


def remaining(elapsed_s: float, half_life_s: float) -> float:
    """Return the fraction of the activity that is left; above 1 before the injection."""
    return float(2 ** (-elapsed_s / half_life_s))


def change(seconds: float, half_life_s: float) -> float:
    """Return the relative change of SUV if a time is off by so many seconds."""
    return float(2 ** min(abs(seconds) / half_life_s, 1000.0)) - 1


def average_rate_time_s(duration_s: float, half_life_s: float) -> float:
    """Return when, after the start of a frame, the count rate equals the frame's average.

    T_ave = ln(λT / (1 − e^(−λT))) / λ (DICOM PS3.3 C.8.9.4.1.5; IBSI manual).
    """
    decay_rate = math.log(2) / half_life_s
    frame = decay_rate * duration_s
    return math.log(frame / -math.expm1(-frame)) / decay_rate


def plausible_frame(duration_s: float | None) -> bool:
    """Say whether a frame's duration is there and can be one: 1 ms to a day."""
    return duration_s is not None and 1e-3 <= duration_s <= LONGEST_FRAME_S
