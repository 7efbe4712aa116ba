"""Write frames.png: time-activity curves of the measured and the denoised frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.frames import PETFrames
from petdiff.records import NOTICE
from petdiff.volume.regions import Mask, body_mask

_HOTTEST_SHARE = 0.01  # of the body's voxels
_COLOURS = ("#1c2733", "#8c1420", "#0b3c78")
_FAINT = "#7a8794"


def curve_regions(denoised: PETFrames) -> dict[str, Mask]:
    """Return the regions whose curves are drawn, by caption: masks [i, j, k], none empty.

    The body, and its hottest 1 % of voxels in two denoised images: the mean over all frames, and
    the frame with the highest 99th percentile, often that of the first pass.
    """
    mean = denoised.mean()
    body = body_mask(mean.values, mean.spacing_mm)
    if not body.any():
        return {}
    tops = [float(np.quantile(frame.values[body], 1 - _HOTTEST_SHARE)) for frame in denoised]
    peak = int(np.argmax(tops))
    level = float(np.quantile(mean.values[body], 1 - _HOTTEST_SHARE))
    return {
        "body": body,
        "hottest 1 % of the mean": body & (mean.values >= level),
        f"hottest 1 % of frame {peak + 1}": body & (denoised[peak].values >= tops[peak]),
    }


def curve(scan: PETFrames, region: Mask) -> NDArray[np.float64]:
    """Return the mean value of a region in each frame."""
    return np.array([frame.values[region].mean(dtype=np.float64) for frame in scan])


def write_time_activity(
    path: Path, measured: PETFrames, denoised: PETFrames, *, title: str
) -> None:
    """Draw the curves of regions as a PNG: measured as dots, denoised as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.6), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.13, 0.88, 0.74))
    times, label = _times(denoised)
    for (name, region), colour in zip(curve_regions(denoised).items(), _COLOURS, strict=False):
        axes.plot(times, curve(denoised, region), color=colour, lw=1.5, label=name)
        axes.plot(times, curve(measured, region), "o", color=colour, ms=4, mfc="none")
    axes.plot([], [], "o", color=_FAINT, ms=4, mfc="none", label="measured (lines: denoised)")
    axes.set_xlabel(label)
    axes.set_ylabel(f"mean, {denoised.first.unit_name}")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.09, 0.93, title, size=11, weight="bold", parse_math=False)
    figure.text(0.97, 0.02, NOTICE, size=7, color=_FAINT, ha="right")
    figure.savefig(path, dpi=150)


def _times(scan: PETFrames) -> tuple[list[float], str]:
    """Return the position of each frame on the time axis, and the label of the axis."""
    triggers_s = [timing.trigger_s for timing in scan.timings]
    if scan.kind == "gated" and None not in triggers_s:
        return [1000 * t for t in triggers_s if t is not None], "time after the trigger, ms"
    middles_s = [
        timing.start_s + (timing.duration_s or 0.0) / 2
        for timing in scan.timings
        if timing.start_s is not None
    ]
    if scan.kind == "dynamic" and len(middles_s) == len(scan):
        return [seconds / 60 for seconds in middles_s], "middle of the frame, min"
    return [float(n + 1) for n in range(len(scan))], "frame"
