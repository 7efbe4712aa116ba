"""Every number of the local-activity domain (`local_activity.py`), each with its source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[float, Field(ge=0.1, le=50)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Scale = Literal["near", "fine", "finest"]


class LocalActivityConstants(BaseModel):
    """Every number of the domain; each with where it comes from.

    "Chosen" values were set once in prototypes and not tuned since; "lab book" is docs/lab-book.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    near: Width = Field(default=2.0, description="width of s; prototypes before lab book 1")
    far: Width = Field(default=6.0, description="width of its far share; likewise")
    context: Width = Field(default=4.0, description="what SURROUNDINGS compares with; likewise")
    fine: Width = Field(default=1.0, description="what noise is measured against; lab book 3")
    finest: Width = Field(default=0.6, description="finest scale of kept activity; lab book 9")
    far_share: Share = Field(default=0.03, description="share of far in s; likewise")
    floor: Positive = Field(default=1e-3, description="share of the scan's level in s; likewise")
    passes: tuple[Scale, ...] = Field(
        default=("near", "near", "fine", "fine", "finest"),
        max_length=50,
        description="scales at which activity is kept, in turn; each leaves a part of what is "
        "still missing; lab book 4, 6 and 9",
    )
    leeway: Positive = Field(default=0.005, description="of s: bounds factors in air; lab book 6")
    most_factor: Positive = Field(default=10.0, description="greatest factor on activity; chosen")
    half_trusted_noise_fine: Positive = Field(
        default=0.45, description="noise at which half of a pass at fine is taken; lab book 9"
    )
    half_trusted_noise_finest: Positive = Field(
        default=0.12, description="noise at which half of a pass at finest is taken; lab book 9"
    )
    trust_steepness: Positive = Field(default=4.0, description="of the trust's fall there; chosen")
    regional_noise: Positive = Field(
        default=0.2,
        description="noise of the regional activity that samples share, over that of voxels; "
        "fitted to 77 answers to 14 simulated patients, lab book 18",
    )
    noise_power: Positive = Field(
        default=0.4,
        description="relative noise falls with activity to this power, between that of counts, "
        "0.5, and 0.2, over four scanners and four tracers; lab book 9",
    )
    most_log_noise: Positive = Field(
        default=0.3, description="by which it rises where it is cold; chosen"
    )
    log_noise_centre: float = Field(
        default=-1.9,
        ge=-20,
        le=20,
        description="middle of log noise over doses 1 … 1/200; chosen",
    )
    noise_window: int = Field(
        default=8,
        ge=2,
        le=64,
        description="side of a window, in voxels; lab book 12",
    )
    most_anatomy: float = Field(
        default=8.0,
        ge=1,
        le=1e6,
        description="anatomy over noise; lab book 14",
    )
    colour: Positive = Field(default=2.2, description="fitted to 736 scans, lab book 14")
    colour_power: Positive = Field(
        default=0.65, description="fitted to 736 simulated scans, lab book 14"
    )

    def width(self, scale: Scale) -> float:
        """Return the width of one of the scales at which activity is kept."""
        return {"near": self.near, "fine": self.fine, "finest": self.finest}[scale]


DEFAULTS = LocalActivityConstants()
