"""Write the measured figures as a table for a person, and as a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from petdiff.measurement.figures import title_of
from petdiff.measurement.record import MeasuredFigure, MeasuredRegion, Measurement
from petdiff.runs import write_csv
from petdiff.terminal import columns
from petdiff.units import significant

COLUMNS = (
    "region", "kind", "volume_ml", "figure", "unit", "measured", "denoised", "lower", "upper",
    "level", "no_interval",
)  # fmt: skip
_MAX_NAMED = 5


def table(found: Measurement) -> str:
    """Return a block of lines per region, and below them why some figures have no interval."""
    share = "" if found.level is None else f"{100 * found.level:g} % interval"
    lines = [("", "measured", "denoised", share)]
    for one in found.regions:
        lines.append((_title(one), "", "", ""))
        lines += [
            _line(figure, found.unit) for figure in one.figures if figure.denoised is not None
        ]
    notes = [*reasons(found), *found.notes]
    return "\n".join([columns(lines), *(f"- {note}" for note in notes)])


def write_figures(path: Path, found: Measurement) -> None:
    """Write a CSV line for each region and figure; cells are empty where there is no number."""
    rows = []
    for one in found.regions:
        of_region = {"region": one.name, "kind": one.kind, "volume_ml": one.volume_ml}
        for figure in one.figures:
            level = None if figure.lower is None else found.level
            row = figure.model_dump() | of_region | {"level": level}
            rows.append([row[name] for name in COLUMNS])
    write_csv(path, COLUMNS, rows)


def _title(one: MeasuredRegion) -> str:
    x, y, z = one.centre_mm
    volume = f"{significant(one.volume_ml, 3)} ml"
    return f"{one.name} ({one.kind}, {volume} at {x:z.0f}, {y:z.0f}, {z:z.0f} mm)"


def _line(figure: MeasuredFigure, unit: str) -> tuple[str, str, str, str]:
    name = title_of(figure.figure, unit)
    shown = name if figure.unit == unit == "SUV" else f"{name}, {figure.unit}"
    interval = "" if figure.lower is None else f"{number(figure.lower)} … {number(figure.upper)}"
    return f"  {shown}", number(figure.measured), number(figure.denoised), interval


def number(value: float | None) -> str:
    """Return a figure with four digits, zeros included; a dash where there is none."""
    if value is None:
        return "–"
    return significant(value, 4) if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def reasons(found: Measurement) -> list[str]:
    """Return each reason for missing intervals, with the regions that it is for."""
    of: dict[str, dict[str, None]] = {}
    for one in found.regions:
        for figure in one.figures:
            if figure.no_interval:
                of.setdefault(figure.no_interval, {})[one.name] = None
    return [f"{_listed(list(names))}: {reason}" for reason, names in of.items()]


def _listed(names: Sequence[str]) -> str:
    left = len(names) - _MAX_NAMED
    shown = ", ".join(names[:_MAX_NAMED])
    return f"{shown} and {left} more" if left > 0 else shown
