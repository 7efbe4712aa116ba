"""PETFrames: a PET scan of several frames on one grid, dynamic or gated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage

_SAME_GRID_MM = 0.01


@dataclass(frozen=True)
class FrameTiming:
    """The time of a frame; None for unknown values.

    start_s     start of the frame, counted from the first frame or from the zero of the source
                (TimeZero of a BIDS sidecar)
    duration_s  duration of the frame; for a gate, the sum of its parts
    trigger_s   for a gate: time from the trigger (R wave, inspiration) to its start
    """

    start_s: float | None = None
    duration_s: float | None = None
    trigger_s: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class PETFrames:
    """A PET scan of two or more frames.

    frames   one PETImage per frame, all on one grid and in one unit, sorted by time
    timings  time of each frame
    kind     dynamic: frames follow one another; gated: each is a phase of the heart or the breath
    facts    acquisition facts and SUV provenance of the whole scan, for JSON
    """

    frames: tuple[PETImage, ...]
    timings: tuple[FrameTiming, ...]
    kind: Literal["dynamic", "gated"] = "dynamic"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.frames) < 2:
            raise ValueError(f"a scan of frames has two or more, not {len(self.frames)}")
        if len(self.timings) != len(self.frames):
            raise ValueError(f"{len(self.frames)} frames and {len(self.timings)} timings")
        for frame in self.frames[1:]:
            if not frame.shares_voxels(self.first, _SAME_GRID_MM):
                raise ValueError("the frames lie on different grids")
            if (frame.unit, frame.in_suv) != (self.first.unit, self.first.in_suv):
                raise ValueError("the frames are in different units")

    def __repr__(self) -> str:
        """Describe the scan in one line, without patient data."""
        return f"PETFrames({len(self)} {self.kind} frames of {self.first!r})"

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[PETImage]:
        return iter(self.frames)

    def __getitem__(self, n: int) -> PETImage:
        return self.frames[n]

    @property
    def first(self) -> PETImage:
        """The first frame; all have its grid and unit."""
        return self.frames[0]

    @property
    def weights(self) -> NDArray[np.float64]:
        """Share of each frame in the mean [frame]: by duration, or equal if one is unknown."""
        durations_s = [timing.duration_s or 0.0 for timing in self.timings]
        if min(durations_s) <= 0:
            durations_s = [1.0] * len(self)
        return np.asarray(durations_s, dtype=np.float64) / sum(durations_s)

    def mean(self) -> PETImage:
        """Return the mean over frames, each weighted by its duration; it has no source."""
        total = np.zeros(self.first.shape, dtype=np.float64)
        for frame, weight in zip(self.frames, self.weights, strict=True):
            total += weight * frame.values
        return replace(
            self.first.with_values(total), stored_per_value=1.0, facts=self.facts, source=None
        )

    def with_frames(self, frames: Sequence[PETImage]) -> PETFrames:
        """Return the same scan with other frames."""
        return replace(self, frames=tuple(frames))


def mean_image(scan: PETImage | PETFrames) -> PETImage:
    """Return a scan of one volume unchanged, and of several frames their mean."""
    return scan.mean() if isinstance(scan, PETFrames) else scan
