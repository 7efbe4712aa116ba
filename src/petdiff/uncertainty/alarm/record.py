"""What the alarm says of a scan, as it is written to run.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Unlikeness(BaseModel):
    """A feature of a scan that is unlike ordinary scans: standard deviations from their mean."""

    model_config = ConfigDict(frozen=True)
    feature: str
    deviations: float


class AlarmRecord(BaseModel):
    """How unlike ordinary scans a scan is.

    score      distance from them; 1 is usual
    threshold  above it there is an alarm
    unlike     the features that are farthest off
    unknown    features that this scan cannot have, so that an error in them goes unnoticed
    """

    model_config = ConfigDict(frozen=True)
    score: float
    threshold: float
    alarm: bool
    unlike: tuple[Unlikeness, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The alarm in one line."""
        if not self.alarm:
            return f"like the scans that the model knows (score {self.score:.1f})"
        off = ", ".join(f"{one.feature} ({one.deviations:+.1f} SD)" for one in self.unlike)
        return (
            f"unlike the scans that the model knows (score {self.score:.1f}, usual are up to "
            f"{self.threshold:.1f}): {off}"
        )
