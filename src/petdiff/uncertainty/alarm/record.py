"""The result of the alarm for a scan, as it is written to run.json."""

from __future__ import annotations

from pydantic import BaseModel


class FeatureDeviation(BaseModel, frozen=True):
    """A feature of a scan with its deviation from the mean of ordinary scans, in their SD."""

    feature: str
    deviations: float


class MeanSUV(BaseModel, frozen=True):
    """The mean SUV of a scan that shows most of the body, and the bounds of possible values."""

    mean: float
    low: float
    high: float

    @property
    def is_possible(self) -> bool:
        """Whether the mean lies within the bounds."""
        return self.low <= self.mean <= self.high


class AlarmRecord(BaseModel, frozen=True):
    """The distance of a scan from ordinary scans, and its mean SUV.

    score      distance from ordinary scans; 1 is usual
    threshold  there is an alarm for a score above it, and for an impossible `mean_suv`
    unlike     the features with the largest deviations
    unknown    features that this scan does not have; deviations in them are not detected
    mean_suv   None if the scan shows too little of the body, or is not in SUV
    """

    score: float
    threshold: float
    alarm: bool
    unlike: tuple[FeatureDeviation, ...] = ()
    unknown: tuple[str, ...] = ()
    mean_suv: MeanSUV | None = None

    @property
    def sentence(self) -> str:
        """The alarm in one line."""
        found = []
        if self.score > self.threshold:
            off = ", ".join(f"{one.feature} ({one.deviations:+.1f} SD)" for one in self.unlike)
            found.append(
                f"unlike the scans that the model knows (score "
                f"{_beyond(self.threshold, self.score, 1)}, usual are up to {self.threshold:.1f}): "
                f"{off}"
            )
        suv = self.mean_suv
        if suv is not None and not suv.is_possible:
            passed = suv.low if suv.mean < suv.low else suv.high
            found.append(
                f"in doubtful SUV: the mean over the body is {_beyond(passed, suv.mean, 2)}, and "
                f"{suv.low:g} to {suv.high:g} is possible where most of the body is shown; check "
                "the weight, the injected activity and the times"
            )
        if not found:
            return f"like the scans that the model knows (score {self.score:.1f})"
        return ", and ".join(found)


def _beyond(limit: float, value: float, decimals: int) -> str:
    """Return a value that is beyond a limit with as many more decimals as show that it is."""
    while decimals < 4 and f"{value:.{decimals}f}" == f"{limit:.{decimals}f}":
        decimals += 1
    return f"{value:.{decimals}f}"
