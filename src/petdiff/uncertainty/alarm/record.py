"""What the alarm says of a scan, as it is written to run.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Unlikeness(BaseModel):
    """A feature of a scan that is unlike ordinary scans: standard deviations from their mean."""

    model_config = ConfigDict(frozen=True)
    feature: str
    deviations: float


class MeanSUV(BaseModel):
    """The mean SUV of a body of which most is shown, and between which bounds it can be right."""

    model_config = ConfigDict(frozen=True)
    mean: float
    low: float
    high: float

    @property
    def is_possible(self) -> bool:
        """Whether the mean lies within the bounds."""
        return self.low <= self.mean <= self.high


class AlarmRecord(BaseModel):
    """How unlike ordinary scans a scan is, and whether its SUV can be right.

    score      distance from ordinary scans; 1 is usual
    threshold  above it there is an alarm, as there is for an impossible `mean_suv`
    unlike     the features that are farthest off
    unknown    features that this scan cannot have, so that an error in them goes unnoticed
    mean_suv   None where the scan shows too little of the body, or is not in SUV
    """

    model_config = ConfigDict(frozen=True)
    score: float
    threshold: float
    alarm: bool
    unlike: tuple[Unlikeness, ...] = ()
    unknown: tuple[str, ...] = ()
    mean_suv: MeanSUV | None = None

    @property
    def sentence(self) -> str:
        """The alarm in one line."""
        found = []
        if self.score > self.threshold:
            off = ", ".join(f"{one.feature} ({one.deviations:+.1f} SD)" for one in self.unlike)
            found.append(
                f"unlike the scans that the model knows (score {self.score:.1f}, usual are up to "
                f"{self.threshold:.1f}): {off}"
            )
        if self.mean_suv is not None and not self.mean_suv.is_possible:
            found.append(
                f"in doubtful SUV: the mean over the body is {self.mean_suv.mean:.2f}, and "
                f"{self.mean_suv.low:g} to {self.mean_suv.high:g} is possible where most of the "
                "body is shown; check the weight, the injected activity and the times"
            )
        if not found:
            return f"like the scans that the model knows (score {self.score:.1f})"
        return ", and ".join(found)
