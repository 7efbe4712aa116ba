"""All constants of the local-activity domain (`local_activity.py`), each with its source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Width = Annotated[float, Field(ge=0.1, le=50)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Scale = Literal["near", "fine", "finest"]


class LocalActivityConstants(BaseModel, frozen=True, extra="forbid"):
    """All constants of the domain, each with its source.

    "Chosen" values and those "before lab book 1" were set in prototypes and never tuned. "Lab book"
    is docs/lab-book.md. Widths are standard deviations in voxels.
    """

    near: Width = Field(default=2.0, description="width of the Gaussian of s; before lab book 1")
    far: Width = Field(
        default=6.0, description="width of the second Gaussian of s; before lab book 1"
    )
    context: Width = Field(
        default=4.0, description="width of the mean in SURROUNDINGS; before lab book 1"
    )
    fine: Width = Field(
        default=1.0, description="noise is the scan minus itself at this width; lab book 3"
    )
    finest: Width = Field(default=0.6, description="finest scale of preserved activity; lab book 9")
    far_share: Share = Field(default=0.03, description="weight of `far` in s; before lab book 1")
    floor: Positive = Field(
        default=1e-3, description="added to s, over the scan's typical activity; before lab book 1"
    )
    passes: tuple[Scale, ...] = Field(
        default=("near", "near", "fine", "fine", "finest"),
        max_length=50,
        description="scales of activity preservation, in sequence; a single pass corrects only a "
        "part of a difference; lab book 4, 6 and 9",
    )
    leeway: Positive = Field(
        default=0.005, description="offset, over s, that bounds factors in air; lab book 6"
    )
    most_factor: Positive = Field(default=10.0, description="largest factor on activity; chosen")
    half_trusted_noise_fine: Positive = Field(
        default=0.45,
        description="noise at which the share of a pass at `fine` is one half; lab book 9",
    )
    half_trusted_noise_finest: Positive = Field(
        default=0.12,
        description="noise at which the share of a pass at `finest` is one half; lab book 9",
    )
    trust_steepness: Positive = Field(
        default=4.0, description="of that share against log noise; chosen"
    )
    regional_noise: Positive = Field(
        default=0.2,
        description="noise of the regional activity that samples share, over that of voxels; "
        "fitted to 77 denoised scans of 14 simulated patients, lab book 18",
    )
    noise_power: Positive = Field(
        default=0.4,
        description="relative noise falls with activity to this power, between that of counts, "
        "0.5, and 0.2, over four scanners and four tracers; lab book 9",
    )
    most_log_noise: Positive = Field(
        default=0.3, description="largest rise of log noise in cold tissue; chosen"
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
        description="side of a window of `spectral_noise`, in voxels; lab book 12",
    )
    most_anatomy: float = Field(
        default=8.0,
        ge=1,
        le=1e6,
        description="largest local noise, with anatomy, over spectral noise; lab book 14",
    )
    colour: Positive = Field(default=2.2, description="fitted to 736 simulated scans, lab book 14")
    colour_power: Positive = Field(
        default=0.65, description="fitted to 736 simulated scans, lab book 14"
    )

    def width(self, scale: Scale) -> float:
        """Return the width of a scale of activity preservation."""
        return {"near": self.near, "fine": self.fine, "finest": self.finest}[scale]


DEFAULTS = LocalActivityConstants()
