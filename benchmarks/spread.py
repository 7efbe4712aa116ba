"""Whether the spread of a model's samples is its error: a table of a cohort's rows.

petdiff evaluate benchmarks/spread.toml -o spread
python benchmarks/spread.py spread/rows.csv
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from statistics import mean

from petdiff.simulation.scanner.scanners import SCANNERS

METRICS = {
    "within_1_sd": ("Errors within one standard deviation, %", 100, 0),
    "within_2_sd": ("Errors within two, %", 100, 0),
    "error_over_sd": ("Error over standard deviation, root mean squares", 1, 2),
}


def table(rows: list[dict[str, str]], metric: str) -> str:
    """Methods down, on the scanners of the training and on held-out ones; doses across: means."""
    title, factor, digits = METRICS[metric]
    found: defaultdict[tuple[str, bool, float], list[float]] = defaultdict(list)
    for row in rows:
        if row["metric"] == metric and row["value"]:
            held_out = SCANNERS[row["scanner"]].held_out
            found[row["method"], held_out, float(row["dose"])].append(float(row["value"]))
    doses = sorted({dose for *_, dose in found})
    lines = [f"| {title} | {' | '.join(f'1/{dose:g}' for dose in doses)} |"]
    lines.append("|---" * (len(doses) + 1) + "|")
    for method, held_out in sorted({key[:2] for key in found}):
        cells = [found[method, held_out, dose] for dose in doses]
        name = f"{method}, unseen scanner" if held_out else method
        shown = (f"{factor * mean(cell):.{digits}f}" for cell in cells)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    with parser.parse_args().rows.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for metric in METRICS:
        print(table(rows, metric) + "\n")


if __name__ == "__main__":
    main()
