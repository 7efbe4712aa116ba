"""The tables of docs/results.md, from what `petdiff evaluate COHORT.toml` wrote.

petdiff evaluate benchmarks/results.toml -o results
python benchmarks/results.py results/summary.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DIGITS = {"psnr_db": (1, 2), "ssim": (1, 4), "seconds": (1, 1), "nps_distance": (1, 2)}
PERCENT = (100, 1)  # of what is a ratio: factor and digits


def table(summary: dict[str, Any], metric: str) -> str:
    """Methods down, doses across: means, and their intervals where there are several patients."""
    means = summary["means"][metric]
    slots = [*sorted((slot for slot in means if slot != "overall"), key=float), "overall"]
    factor, digits = DIGITS.get(metric, PERCENT)
    unit = summary["metrics"][metric]["unit"] if metric in DIGITS else "%"

    def shown(cell: dict[str, Any]) -> str:
        if cell["mean"] is None:
            return "–"
        text = f"{factor * cell['mean']:.{digits}f}"
        if cell["low"] is not None:
            text += f" ({factor * cell['low']:.{digits}f}…{factor * cell['high']:.{digits}f})"
        return text

    title = summary["metrics"][metric]["title"] + ("" if unit == "1" else f", {unit}")
    heads = [slot if slot == "overall" else f"1/{slot}" for slot in slots]
    lines = [f"| {title} | {' | '.join(heads)} |", "|---" * (len(slots) + 1) + "|"]
    lines += [
        f"| {method} | {' | '.join(shown(means[slot][method]) for slot in slots)} |"
        for method in summary["methods"]
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("summary", type=Path)
    summary = json.loads(parser.parse_args().summary.read_text(encoding="utf-8"))
    for claim in summary["claims"]:
        print(f"**{claim['title']}.** {claim['sentence']}\n")
    for metric in summary["metrics"]:
        print(table(summary, metric) + "\n")


if __name__ == "__main__":
    main()
