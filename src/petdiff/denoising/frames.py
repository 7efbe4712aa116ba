"""Figures of a denoised scan of several frames: their mean, and a row for each frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.frames import FramesResult
from petdiff.volume.activity import relative_change
from petdiff.volume.regions import body_mask

if TYPE_CHECKING:
    from petdiff.inference.denoise import Result


def mean_result(result: Result | FramesResult) -> Result:
    """Return a result of one volume unchanged, and of several frames their mean.

    The noise of the frames is taken as independent for the uncertainty of their mean.
    """
    from petdiff.inference.denoise import Result

    if isinstance(result, Result):
        return result
    uncertainty = None
    if result.uncertainty is not None:
        variance = np.zeros(result.image.first.shape, dtype=np.float64)
        for frame, weight in zip(result.uncertainty, result.image.weights, strict=True):
            variance += np.square(weight * frame.values.astype(np.float64))
        uncertainty = result.uncertainty.mean().with_values(np.sqrt(variance))
    return Result(result.image.mean(), uncertainty, result.record)


def with_frame_figures(measured: PETFrames, result: FramesResult) -> FramesResult:
    """Add figures to each frame's row, measured within the body mask of the mean scan.

    mean_measured, mean_denoised  mean value in the body, in the unit of the image
    noise_removed                 root mean square of measured - denoised, over mean_denoised
    relative_change               of the whole frame's activity, denoised / measured - 1
    """
    mean = result.image.mean()
    body = body_mask(mean.values, mean.spacing_mm)
    rows = tuple(
        row.model_copy(update=_figures(before, after, body))
        for row, before, after in zip(
            result.record.frames, measured.frames, result.image.frames, strict=True
        )
    )
    return replace(result, record=result.record.model_copy(update={"frames": rows}))


def _figures(before: PETImage, after: PETImage, body: np.ndarray) -> dict[str, float | None]:
    whole_before = float(before.values.sum(dtype=np.float64))
    whole_after = float(after.values.sum(dtype=np.float64))
    change = relative_change(whole_before, whole_after)
    if not body.any():
        return {"relative_change": change}
    measured, denoised = (image.values[body].astype(np.float64) for image in (before, after))
    mean = float(denoised.mean())
    removed = float(np.sqrt(np.square(measured - denoised).mean()))
    return {
        "mean_measured": float(measured.mean()),
        "mean_denoised": mean,
        "noise_removed": removed / mean if mean > 0 else None,
        "relative_change": change,
    }


def frames_text(scan: PETFrames) -> str:
    """Describe the frames: 20 dynamic frames of 10 to 300 s."""
    durations_s = [timing.duration_s for timing in scan.timings if timing.duration_s]
    text = f"{len(scan)} {scan.kind} frames"
    if len(durations_s) < len(scan):
        return text
    low, high = min(durations_s), max(durations_s)
    return f"{text} of {low:g} s" if low == high else f"{text} of {low:g} to {high:g} s"
