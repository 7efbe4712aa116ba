"""Test the claims of a cohort's file ("this method beats those") on the cohort's table.

Each condition (a scanner, a tracer and a dose) is compared separately, paired by patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from petdiff.data.layouts import Drf
from petdiff.evaluation.cohort.compared_metrics import Metric, ranked_metric
from petdiff.evaluation.cohort.definition import Claim
from petdiff.evaluation.cohort.table import Table, Values, fraction, nan_mean
from petdiff.evaluation.statistics import MIN_PATIENTS, SIGNIFICANT, holm, paired
from petdiff.units import with_minus

Verdict = Literal["confirmed", "refuted", "open"]


class ConditionGain(BaseModel, frozen=True):
    """The gain of a method over a rival in one condition.

    dose           reduction factor; None if unknown
    gain           mean over patients, above 0 if the method is better, in the metric's unit
    p              of Wilcoxon's test, after Holm's correction over all conditions and rivals of the
                   claim
    rank_biserial  the test's effect, above 0 if the method is better by ranks
    """

    scanner: str
    tracer: str
    dose: Drf
    gain: float
    p: float
    rank_biserial: float

    @property
    def is_significant(self) -> bool:
        """Whether the test is significant, and in the direction of the mean.

        They may disagree, because one outlier can dominate a mean.
        """
        return self.p < SIGNIFICANT and self.gain * self.rank_biserial > 0


class RivalResult(BaseModel, frozen=True):
    """A claim's method against one rival.

    conditions   number of conditions in which both have values
    better       number of conditions in which the method is better, and significantly better
    worse        number of conditions in which the method is worse, and significantly worse
    scans        number of scans of both, and of those in which the method is better
    """

    rival: str
    conditions: int
    better: int
    better_significantly: int
    worse: int
    worse_significantly: int
    scans: int
    scans_better: int
    mean_gain: float | None
    worst: ConditionGain | None


class ClaimResult(BaseModel, frozen=True):
    """The result of a claim.

    verdict  confirmed: better than every rival in every condition, each time significantly;
             refuted: significantly worse than one of them in a condition; else open
    """

    title: str
    metric: str
    verdict: Verdict
    sentence: str
    rivals: list[RivalResult]


def check_claims(table: Table, claims: Sequence[Claim]) -> list[ClaimResult]:
    """Test each claim. With fewer than MIN_PATIENTS patients the verdict is "open"."""
    return [_check_claim(table, claim) for claim in claims]


def _check_claim(table: Table, claim: Claim) -> ClaimResult:
    metric = ranked_metric(claim.metric)
    rivals = _against_rivals(table, claim, metric)
    compared = [one for one in rivals if one.conditions]
    verdict: Verdict = "open"
    if any(one.worse_significantly for one in rivals):
        verdict = "refuted"
    elif len(compared) == len(rivals) and all(
        one.better_significantly == one.conditions for one in rivals
    ):
        verdict = "confirmed"
    title = f"{claim.method} against {_listed(claim.beats)}, {metric.title}"
    sentence = _sentence(claim, metric, verdict, rivals, len(table.patients))
    return ClaimResult(
        title=title, metric=metric.name, verdict=verdict, sentence=sentence, rivals=rivals
    )


def _against_rivals(table: Table, claim: Claim, metric: Metric) -> list[RivalResult]:
    gains = {rival: _gains(table, claim.method, rival, metric) for rival in claim.beats}
    # A condition without values is no test, and does not count in the correction.
    known = {rival: np.flatnonzero(np.isfinite(gain).any(axis=0)) for rival, gain in gains.items()}
    has_power = len(table.patients) >= MIN_PATIENTS
    tests = {rival: [_wilcoxon(gain[:, n]) for n in known[rival]] for rival, gain in gains.items()}
    p = [p if has_power else 1.0 for of_rival in tests.values() for p, _ in of_rival]
    adjusted = iter(holm(p))
    found = []
    for rival, gain in gains.items():
        each = [
            ConditionGain(
                **table.conditions[n]._asdict(),
                gain=float(nan_mean(gain[:, n])),
                p=float(next(adjusted)),
                rank_biserial=effect,
            )
            for n, (_, effect) in zip(known[rival], tests[rival], strict=True)
        ]
        found.append(_counted(rival, gain, each))
    return found


def _counted(rival: str, gain: Values, each: Sequence[ConditionGain]) -> RivalResult:
    """Count the conditions and scans of one rival; `gain` is [patient, condition]."""
    better = [one for one in each if one.gain > 0]
    worse = [one for one in each if one.gain < 0]
    return RivalResult(
        rival=rival,
        conditions=len(each),
        better=len(better),
        better_significantly=sum(one.is_significant for one in better),
        worse=len(worse),
        worse_significantly=sum(one.is_significant for one in worse),
        scans=int(np.isfinite(gain).sum()),
        scans_better=int((gain > 0).sum()),
        mean_gain=float(nan_mean(nan_mean(gain))) if each else None,
        worst=min(each, key=lambda one: one.gain, default=None),
    )


def _gains(table: Table, method: str, rival: str, metric: Metric) -> Values:
    """Return how much better a method is than its rival, [patient, condition]."""
    values = table.values[metric.name]
    difference = values[table.methods.index(method)] - values[table.methods.index(rival)]
    gains: Values = metric.better * difference
    return gains


def _wilcoxon(difference: Values) -> tuple[float, float]:
    """Return p and the rank-biserial correlation of the signed-rank test of the known values."""
    known = difference[np.isfinite(difference)]
    if len(known) < 2:
        return 1.0, 0.0
    found = paired(np.zeros(len(known)), known)
    return found.wilcoxon_p, found.rank_biserial


def _sentence(
    claim: Claim, metric: Metric, verdict: Verdict, rivals: Sequence[RivalResult], patients: int
) -> str:
    parts = [_VERDICTS[verdict]]
    for one in rivals:
        if not one.conditions or one.worst is None or one.mean_gain is None:
            parts.append(f"No scan has a {metric.title} of both {claim.method} and {one.rival}.")
            continue
        parts.append(
            f"Against {one.rival}: better in {one.better} of {one.conditions} conditions "
            f"({one.better_significantly} significantly), worse in {one.worse} "
            f"({one.worse_significantly} significantly); mean gain "
            f"{_gain_text(one.mean_gain, metric)}, least {_gain_text(one.worst.gain, metric)} "
            f"({_condition_text(one.worst)})."
        )
    if note := _power(patients, sum(one.conditions for one in rivals)):
        parts.append(note)
    return " ".join(parts)


_VERDICTS = {
    "confirmed": "Confirmed: better in every condition, significantly in each.",
    "refuted": "Refuted: significantly worse in at least one condition.",
    "open": "Open: neither confirmed nor refuted.",
}


def _power(patients: int, tests: int) -> str:
    """Return a note on the power of the tests; "" if there are enough patients."""
    if patients < MIN_PATIENTS:
        return f"Differences are tested from {MIN_PATIENTS} patients on; here are {patients}."
    least_p = 2.0 ** (1 - patients)  # of a two-sided signed-rank test
    if least_p * tests >= SIGNIFICANT:
        return (
            f"With {patients} patients no difference can be significant after correction for "
            f"{tests} tests."
        )
    return ""


def _gain_text(gain: float, metric: Metric) -> str:
    return with_minus(f"{gain:+.2f} dB" if metric.unit == "dB" else f"{gain:+.3g}")


def _condition_text(one: ConditionGain) -> str:
    return f"{one.scanner}, {one.tracer}, {fraction(one.dose)}"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
