"""Draws quality against seconds for methods named NAME-STEPS, from a cohort's summary.json.

python benchmarks/few_steps.py few-steps/summary.json -o docs/images/few-steps.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

METRICS = (
    ("psnr_db", "PSNR (dB)"),
    ("ssim", "SSIM"),
    ("nps_distance", "noise texture, distance (0: that of full dose)"),
)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def families(methods: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Name → its (steps, method), fewest steps first; methods without a number are left out."""
    found: dict[str, list[tuple[int, str]]] = {}
    for method in methods:
        name, _, steps = method.rpartition("-")
        if name and steps.isdigit():
            found.setdefault(name, []).append((int(steps), method))
    return {name: sorted(members) for name, members in found.items()}


def draw(summary: dict[str, Any]) -> Figure:
    """One panel a metric, a line a family; seconds are of one thread."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    means = {metric: cells["overall"] for metric, cells in summary["means"].items()}
    for axes, (metric, label) in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        for colour, (name, members) in zip(
            COLOURS, families(summary["methods"]).items(), strict=False
        ):
            seconds = [means["seconds"][method]["mean"] for _, method in members]
            values = [means[metric][method]["mean"] for _, method in members]
            axes.plot(seconds, values, "o-", color=colour, label=name, lw=1.2, ms=4)
            for (steps, _), x, y in zip(members, seconds, values, strict=True):
                axes.annotate(f"{steps}", (x, y), (4, 4), textcoords="offset points", fontsize=8)
        measured = means[metric].get("measured", {}).get("mean")
        if measured is not None:
            axes.axhline(measured, color="#8a949e", lw=0.8, ls="--", label="measured")
        axes.set_xscale("log")
        axes.margins(0.12)
        axes.set_xlabel("seconds per scan, one thread")
        axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("summary", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    summary = json.loads(options.summary.read_text(encoding="utf-8"))
    draw(summary).savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
