"""The fraction of the administered dose that is left at the time that a PET image refers to.

DecayCorrection (0054,1102) states that time: the injection (ADMIN), the start of the scan (START)
or the frame of each slice (NONE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from petdiff.suv.half_life import (
    PLAUSIBLE_S,
    elapsed_limits_s,
    is_plausible_duration,
    remaining_fraction,
)
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.timing import FIRST_TIME, FRAME_TIME, GE_TIME, Timeline, timeline

ADMINISTERED = "administered"
UNCORRECTED = "uncorrected"


@dataclass(frozen=True)
class Decay:
    """The fraction of the dose that is left, for each possible reading of the headers.

    rule                name of the reading to use
    remaining_fraction  by reading; a float, or float64 [slice] where slices differ
    alternatives        names of the other readings that the header allows as well
    """

    rule: str
    remaining_fraction: Mapping[str, float | NDArray[np.float64]]
    alternatives: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


def decay_of(slices: Sequence[SliceHeader]) -> Decay:
    """Return the fraction of the administered dose left when the values refer to it.

    Raises SUVRefused where DecayCorrection, half-life, injection or scan time is missing.
    """
    header = slices[0]
    if header.decay_correction == "ADMIN":
        return Decay(ADMINISTERED, {ADMINISTERED: 1.0})
    if header.decay_correction not in ("START", "NONE"):
        shown = header.decay_correction or "absent"
        raise refuse(header, f"DecayCorrection (0054,1102) is {shown}, not START, ADMIN or NONE")
    half_life_s = header.half_life_s
    if half_life_s is None or not PLAUSIBLE_S[0] <= half_life_s <= PLAUSIBLE_S[1]:
        shown = "absent" if half_life_s is None else f"{half_life_s:g} s"
        raise refuse(header, f"RadionuclideHalfLife (0018,1075) is {shown}")
    if header.decay_correction == "NONE":
        return _uncorrected(slices, half_life_s)
    times = timeline(slices, half_life_s)
    if times.rule == FIRST_TIME and {FRAME_TIME, GE_TIME} & set(times.impossible):
        raise refuse(
            header,
            "FrameReferenceTime (0054,1300) or GE's scan time (0009,100D) says what decay is "
            f"corrected to, and that does not fit the injection by {times.injection.source}",
        )
    return _corrected_to_start(times, half_life_s)


def _corrected_to_start(times: Timeline, half_life_s: float) -> Decay:
    left = {
        rule: remaining_fraction((moment - times.injection.moment).total_seconds(), half_life_s)
        for rule, moment in times.references.items()
    }
    others = _other_injections(times, half_life_s)
    admissible = [left[rule] for rule in times.alternatives] + [*others.values()]
    both = _other_injections(times, half_life_s, rules=times.alternatives)
    for extreme in (min, max):  # differences of both times may add up
        name = extreme(both, key=lambda pair: both[pair], default="")
        if name and both[name] == extreme([both[name], *admissible]):
            others[name] = both[name]
    facts = _facts(times) | {
        "reference": {rule: moment.isoformat() for rule, moment in times.references.items()}
    }
    return Decay(times.rule, left | others, (*times.alternatives, *others), times.notes, facts)


def _uncorrected(slices: Sequence[SliceHeader], half_life_s: float) -> Decay:
    """Correct each slice from its own start, and within its frame (average count rate)."""
    for header in slices:
        if header.acquisition.clock is None or not is_plausible_duration(header.frame_duration_s):
            raise refuse(
                header,
                "DecayCorrection is NONE, which needs each slice's AcquisitionTime (0008,0032) "
                "and ActualFrameDuration (0018,1242)",
            )
    times = timeline(slices, half_life_s)
    starts = [start for start in times.scan.starts if start is not None]
    decay_rate = np.log(2) / half_life_s
    frames = decay_rate * np.array([s.frame_duration_s for s in slices], dtype=np.float64)
    within_frame = -np.expm1(-frames) / frames

    def left(injection: datetime) -> NDArray[np.float64]:
        elapsed_s = np.array([(start - injection).total_seconds() for start in starts])
        return np.asarray(within_frame * np.exp(-decay_rate * elapsed_s), dtype=np.float64)

    others: dict[str, float | NDArray[np.float64]] = {
        name: left(moment) for name, moment in times.injection.others.items()
    }
    notes = [note for note in times.notes if note in (*times.scan.notes, *times.injection.notes)]
    if "DECY" in (slices[0].corrections or ()):
        notes.append(
            "CorrectedImage (0028,0051) has DECY, and DecayCorrection (0054,1102) is NONE: decay "
            "is taken to be uncorrected"
        )
        corrected = _corrected_to_start(times, half_life_s)
        others[f"corrected to the {corrected.rule}"] = corrected.remaining_fraction[corrected.rule]
    found = {UNCORRECTED: left(times.injection.moment), **others}
    return Decay(UNCORRECTED, found, tuple(others), tuple(notes), _facts(times))


def _other_injections(
    times: Timeline, half_life_s: float, rules: Sequence[str] = ()
) -> dict[str, float]:
    """Return the fraction left for each other injection time that fits the reference time.

    rules  names of the reference times; by default the one that is used
    """
    min_s, max_s = elapsed_limits_s(half_life_s)
    elapsed_s = {
        f"{name}, {rule}" if rules else name: (times.references[rule] - moment).total_seconds()
        for name, moment in times.injection.others.items()
        for rule in rules or (times.rule,)
    }
    return {
        name: remaining_fraction(seconds, half_life_s)
        for name, seconds in elapsed_s.items()
        if min_s <= seconds <= max_s
    }


def _facts(times: Timeline) -> dict[str, object]:
    return {
        "injection": times.injection.moment.isoformat(),
        "injection from": times.injection.source,
    }
