"""How the seconds and the memory of `petdiff denoise` grow with the size of the scan.

    python benchmarks/growth.py OUT.json docs/images/growth.png

Runs the command on body-shaped scans of 0.1 to 100 million body voxels, each in a process of its
own, and adds each run to OUT.json; scans that are already in it are not run again. Then fits
seconds = start + rate · voxels with the least relative error, and draws both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from speed import body_scan, run_whole

SHAPES = (
    (48, 48, 48),
    (96, 96, 96),
    (128, 128, 160),
    (166, 166, 260),
    (192, 288, 520),
    (440, 440, 645),
    (440, 440, 1100),
    (440, 440, 1680),
)


def measure(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Run the command once on a scan of this shape."""
    run = run_whole(body_scan(shape), steps=1)
    return {
        "shape": shape,
        "body_voxels": run.body_voxels,
        "file_to_file_s": run.file_to_file_s,
        "denoising_s": run.stages_s["denoising"],
        "peak_gib": run.peak_gib,
        "precision": run.precision,
    }


def draw(rows: list[dict[str, Any]], start: float, rate: float) -> Figure:
    """Draw seconds, their line and memory against voxels of the body, on logarithmic axes."""
    voxels = np.array([row["body_voxels"] for row in rows])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    line = np.geomspace(voxels.min(), voxels.max(), 100)
    label = f"{start:.1f} s + {rate * 1e6:.2f} s per million voxels"
    left.plot(line, start + rate * line, color="#8a949e", lw=1, label=label)
    for name, marker, colour, label in (
        ("file_to_file_s", "o", "#0072b2", "file to file"),
        ("denoising_s", "s", "#d55e00", "denoising alone"),
    ):
        left.plot(voxels, [row[name] for row in rows], marker, color=colour, ms=5, label=label)
    left.set_ylabel("seconds")
    left.legend(frameon=False, fontsize=8)
    right.plot(voxels, [row["peak_gib"] for row in rows], "o-", color="#0072b2", lw=1)
    right.set_ylabel("peak memory of the process (GiB)")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="voxels of the body")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes, ticks in ((left, (0.1, 1, 10, 100)), (right, (0.5, 1, 2, 4, 8))):
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.suptitle(f"petdiff denoise, flow3d in {rows[0]['precision']}", fontsize=10)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    rows = json.loads(options.runs.read_text()) if options.runs.exists() else []
    for shape in SHAPES:
        if list(shape) not in [list(row["shape"]) for row in rows]:
            rows.append(measure(shape))
            options.runs.write_text(json.dumps(rows, indent=1))
    voxels = np.array([row["body_voxels"] for row in rows])
    seconds = np.array([row["file_to_file_s"] for row in rows])
    rate, start = np.polyfit(voxels, seconds, 1, w=1 / seconds)
    print(
        "| voxels | of the body, million | seconds | of it denoising | memory, GiB | by the line |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        by_line = start + rate * row["body_voxels"]
        print(
            f"| {' × '.join(map(str, row['shape']))} | {row['body_voxels'] / 1e6:.2f} "
            f"| {row['file_to_file_s']:.1f} | {row['denoising_s']:.1f} | {row['peak_gib']:.2f} "
            f"| {by_line:.1f} |"
        )
    draw(rows, start, rate).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
