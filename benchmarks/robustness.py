"""What a model gains on scanners and tracers that it was, or was not, trained on.

python benchmarks/robustness.py robustness/rows.csv
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean

SEEN = ("quadra", "fdg")
# Title → whether a scan of that scanner and tracer belongs there.
GROUPS: dict[str, Callable[[bool, bool], bool]] = {
    "the same": lambda scanner, tracer: scanner and tracer,
    "another scanner": lambda scanner, tracer: not scanner and tracer,
    "another tracer": lambda scanner, tracer: scanner and not tracer,
    "both": lambda scanner, tracer: not scanner and not tracer,
}


def gains(rows: Path) -> dict[str, dict[str, list[float]]]:
    """Return, by method and group, each scan's gain in PSNR over the measured scan in dB."""
    psnr: defaultdict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    with rows.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "psnr_db" and row["method"] != "full":
                scan = tuple(row[key] for key in ("scanner", "tracer", "patient", "dose"))
                psnr[scan][row["method"]] = float(row["value"])
    found: dict[str, dict[str, list[float]]] = {}
    for (scanner, tracer, *_), by_method in psnr.items():
        seen = (scanner == SEEN[0], tracer == SEEN[1])
        group = next(title for title, belongs in GROUPS.items() if belongs(*seen))
        for method, value in by_method.items():
            gain = value - by_method["measured"]
            found.setdefault(method, {title: [] for title in GROUPS})[group].append(gain)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    print(f"| gain in PSNR, dB | {' | '.join(GROUPS)} |")
    print("|---" * (len(GROUPS) + 1) + "|")
    for method, by_group in gains(parser.parse_args().rows).items():
        if method != "measured":
            print(f"| {method} | {' | '.join(f'{mean(v):+.2f}' for v in by_group.values())} |")


if __name__ == "__main__":
    main()
