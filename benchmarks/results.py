"""Print the tables of docs/results.md from the files that `petdiff evaluate COHORT.toml` wrote.

petdiff evaluate benchmarks/results.toml -o results
python benchmarks/results.py results
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

DIGITS = {
    "psnr_db": (1, 2),
    "ssim": (1, 4),
    "seconds": (1, 1),
    "nps_distance": (1, 2),
    "gradient_ratio": (1, 3),
    "interval_width_90": (1, 2),
    "audit_fabrications": (1, 1),
    "audit_omissions": (1, 1),
    "audit_false_alarms": (1, 1),
}
PERCENT = (100, 1)  # of ratios: factor and digits


def table(summary: dict[str, Any], metric: str) -> str:
    """Return a table of means by method and dose, with intervals if there are several patients."""
    means = summary["means"][metric]
    unit = summary["metrics"][metric]["unit"] if metric in DIGITS else "%"
    lines = head(summary["metrics"][metric]["title"] + ("" if unit == "1" else f", {unit}"), means)
    lines += [
        f"| {method} | {' | '.join(shown(means[slot][method], metric) for slot in slots(means))} |"
        for method in summary["methods"]
    ]
    return "\n".join(lines)


def difference_table(summary: dict[str, Any], metric: str) -> str:
    """Return a table of mean differences between methods by dose, with intervals over patients."""
    tests = summary["tests"][metric]
    lines = head(f"{summary['metrics'][metric]['title']}, difference", tests)
    for n, pair in enumerate(tests["overall"]):
        cells = [shown(tests[slot][n], metric, "difference") for slot in slots(tests)]
        lines.append(f"| {pair['method']} less {pair['against']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def slots(by_dose: dict[str, Any]) -> list[str]:
    """Return the doses in their order, then "overall"."""
    return [*sorted((slot for slot in by_dose if slot != "overall"), key=float), "overall"]


def head(title: str, by_dose: dict[str, Any]) -> list[str]:
    """Return the first two lines of a table with a column for each dose."""
    heads = [slot if slot == "overall" else f"1/{slot}" for slot in slots(by_dose)]
    return [f"| {title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]


def shown(cell: dict[str, Any], metric: str, key: str = "mean") -> str:
    """Return a value, with its interval if it has one."""
    factor, digits = DIGITS.get(metric, PERCENT)
    if cell[key] is None:
        return "–"
    text = f"{factor * cell[key]:z.{digits}f}"
    if cell["low"] is not None:
        text += f" ({factor * cell['low']:z.{digits}f}…{factor * cell['high']:z.{digits}f})"
    return text


LESIONS = {
    "froc_area": ("Sensitivity up to one false focus a scan", 1, 2),
    "miss_rate": ("Lesions missed, %", 100, 0),
    "lost_rate": ("Lesions lost, of those found at full dose, %", 100, 0),
    "invented_foci": ("Foci invented, a scan", 1, 2),
    "hotelling_auc": ("AUC of a Hotelling observer", 1, 3),
}


def lesion_table(rows: list[dict[str, str]], metric: str) -> str:
    """Return a table of values over all lesions with their intervals, by method and dose."""
    title, factor, digits = LESIONS[metric]
    chosen = [row for row in rows if (row["metric"], row["stratum"]) == (metric, "all")]
    cells = {(row["method"], row["dose"]): row for row in chosen}
    doses = sorted({row["dose"] for row in rows}, key=float)

    def shown(row: dict[str, str] | None) -> str:
        if row is None:
            return ""
        value, low, high = (
            f"{factor * float(row[key]):z.{digits}f}" if row[key] else ""
            for key in ("value", "low", "high")
        )
        return f"{value} ({low}…{high})" if low else value

    heads = ["full dose" if float(dose) == 1 else f"1/{float(dose):g}" for dose in doses]
    lines = [f"| {title} | {' | '.join(heads)} |", "|---" * (len(doses) + 1) + "|"]
    lines += [
        f"| {method} | {' | '.join(shown(cells.get((method, dose))) for dose in doses)} |"
        for method in dict.fromkeys(row["method"] for row in chosen)
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for claim in summary["claims"]:
        print(f"**{claim['title']}.** {claim['sentence']}\n")
    if summary["tests"]["psnr_db"]["overall"]:
        print(difference_table(summary, "psnr_db") + "\n")
    for metric in summary["metrics"]:
        print(table(summary, metric) + "\n")
    if (folder / "lesions.csv").is_file():
        with (folder / "lesions.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for metric in LESIONS:
            print(lesion_table(rows, metric) + "\n")


if __name__ == "__main__":
    main()
