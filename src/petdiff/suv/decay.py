"""How much of the administered dose is left at the time that a PET image's values refer to.

DICOM says with DecayCorrection (0054,1102) that values refer to the injection (ADMIN), to the start
of the scan (START) or to each slice's own frame (NONE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from petdiff.suv.half_life import PLAUSIBLE_S, elapsed_limits_s, plausible_frame, remaining
from petdiff.suv.header import SliceHeader, refuse
from petdiff.suv.timing import FIRST_TIME, FRAME_TIME, GE_TIME, Timeline, timeline

ADMINISTERED = "administered"
UNCORRECTED = "uncorrected"


@dataclass(frozen=True)
class Decay:
    """The fraction of the dose that is left, by each reading that the headers allow.

    rule is the one to use, doubted are those that the header admits as well; a fraction is a
    float, or float64 [slice] where each slice has its own.
    """

    rule: str
    remaining: Mapping[str, float | NDArray[np.float64]]
    doubted: tuple[str, ...] = ()
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
    story = timeline(slices, half_life_s)
    if story.rule == FIRST_TIME and {FRAME_TIME, GE_TIME} & set(story.impossible):
        raise refuse(
            header,
            "FrameReferenceTime (0054,1300) or GE's scan time (0009,100D) says what decay is "
            f"corrected to, and that does not fit the injection by {story.injection.source}",
        )
    return _corrected_to_start(story, half_life_s)


def _corrected_to_start(story: Timeline, half_life_s: float) -> Decay:
    left = {
        rule: remaining((moment - story.injection.moment).total_seconds(), half_life_s)
        for rule, moment in story.references.items()
    }
    others = _other_injections(story, half_life_s)
    admissible = [left[rule] for rule in story.doubted] + [*others.values()]
    both = _other_injections(story, half_life_s, rules=story.doubted)
    for extreme in (min, max):  # small differences of reference and injection may add up
        name = extreme(both, key=lambda pair: both[pair], default="")
        if name and both[name] == extreme([both[name], *admissible]):
            others[name] = both[name]
    facts = _facts(story) | {
        "reference": {rule: moment.isoformat() for rule, moment in story.references.items()}
    }
    return Decay(story.rule, left | others, (*story.doubted, *others), story.notes, facts)


def _uncorrected(slices: Sequence[SliceHeader], half_life_s: float) -> Decay:
    """Correct each slice from its own start, and within its frame (average count rate)."""
    for header in slices:
        if header.acquisition.clock is None or not plausible_frame(header.frame_duration_s):
            raise refuse(
                header,
                "DecayCorrection is NONE, which needs each slice's AcquisitionTime (0008,0032) "
                "and ActualFrameDuration (0018,1242)",
            )
    story = timeline(slices, half_life_s)
    starts = [start for start in story.scan.starts if start is not None]
    decay_rate = np.log(2) / half_life_s
    frames = decay_rate * np.array([s.frame_duration_s for s in slices], dtype=np.float64)
    within_frame = -np.expm1(-frames) / frames

    def left(injection: datetime) -> NDArray[np.float64]:
        elapsed_s = np.array([(start - injection).total_seconds() for start in starts])
        return np.asarray(within_frame * np.exp(-decay_rate * elapsed_s), dtype=np.float64)

    others = {name: left(moment) for name, moment in story.injection.others.items()}
    found = {UNCORRECTED: left(story.injection.moment), **others}
    notes = [note for note in story.notes if note in (*story.scan.notes, *story.injection.notes)]
    return Decay(UNCORRECTED, found, tuple(others), tuple(notes), _facts(story))


def _other_injections(
    story: Timeline, half_life_s: float, rules: Sequence[str] = ()
) -> dict[str, float]:
    """Return what is left by the other readings of the injection that fit the reference.

    rules  references to take instead of the one that is used
    """
    least_s, most_s = elapsed_limits_s(half_life_s)
    elapsed_s = {
        f"{name}, {rule}" if rules else name: (story.references[rule] - moment).total_seconds()
        for name, moment in story.injection.others.items()
        for rule in rules or (story.rule,)
    }
    return {
        name: remaining(seconds, half_life_s)
        for name, seconds in elapsed_s.items()
        if least_s <= seconds <= most_s
    }


def _facts(story: Timeline) -> dict[str, object]:
    return {
        "injection": story.injection.moment.isoformat(),
        "injection from": story.injection.source,
    }
