"""Denoise a dynamic or gated scan. Each frame is denoised as a separate scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.record import DenoisingRecord, FrameRecord
from petdiff.progress import ProgressCallback

if TYPE_CHECKING:
    from petdiff.inference.session import Result

# Sum of negative over sum of positive values, above which a frame is noise around zero only. It is
# 1 without any activity, and about 0.8 if the noise is eight times the body's activity.
_NOTHING_BUT_NOISE = 0.9


@dataclass(frozen=True)
class FramesResult:
    """The denoised frames of a scan.

    image        the denoised scan, with the frames and timings of the source
    uncertainty  one standard deviation per voxel, in the unit of the image; None with one sample
    record       as for a single scan, with a row per frame
    """

    image: PETFrames
    uncertainty: PETFrames | None
    record: DenoisingRecord


def denoise_frames(
    scan: PETFrames,
    denoise_one: Callable[[PETImage], Result],
    callback: ProgressCallback | None = None,
) -> FramesResult:
    """Denoise each frame by `denoise_one`; a frame without activity is returned unchanged.

    callback  called with (frames done, frames in all)
    """
    results: list[Result] = []
    rows = []
    for n, (frame, timing) in enumerate(zip(scan.frames, scan.timings, strict=True)):
        if callback is not None:
            callback(n, len(scan))
        empty = is_empty(frame)
        result = denoise_one(_zeros(frame) if empty else frame)
        if empty:
            result = _unchanged(frame, result)
        results.append(result)
        rows.append(
            FrameRecord(
                frame=n + 1,
                **asdict(timing),
                unchanged=empty,
                seconds=result.record.seconds,
                air_share=result.record.air_share,
            )
        )
    if callback is not None:
        callback(len(scan), len(scan))
    uncertainties = [result.uncertainty for result in results]
    known = [uncertainty for uncertainty in uncertainties if uncertainty is not None]
    # Entries that are the same for all frames are taken from a frame with activity.
    shown = next((r.record for r in results if r.record.tile is not None), results[0].record)
    seconds = round(sum(row.seconds for row in rows), 3)
    return FramesResult(
        scan.with_frames([result.image for result in results]),
        scan.with_frames(known) if len(known) == len(scan) else None,
        shown.model_copy(update={"seconds": seconds, "frames": tuple(rows)}),
    )


def is_empty(frame: PETImage) -> bool:
    """Return whether a frame has no activity, as before injection: zeros, or noise around zero."""
    negative = -float(frame.values.sum(where=frame.values < 0, dtype=np.float64))
    positive = float(frame.values.sum(where=frame.values > 0, dtype=np.float64))
    return negative >= _NOTHING_BUT_NOISE * positive


def _zeros(frame: PETImage) -> PETImage:
    return frame.with_values(np.zeros_like(frame.values))


def _unchanged(frame: PETImage, result: Result) -> Result:
    """Return an empty frame as its result, with its root mean square as uncertainty."""
    uncertainty = result.uncertainty
    if uncertainty is not None:
        noise = float(np.sqrt(np.square(frame.values, dtype=np.float64).mean()))
        uncertainty = uncertainty.with_values(np.full_like(frame.values, noise))
    return replace(result, image=frame, uncertainty=uncertainty)
