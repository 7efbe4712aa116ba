"""Read a list of scans: a CSV file with a column `scan` and optional columns of options."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from petdiff.denoising.request import Request
from petdiff.errors import InputRefused, PetdiffError
from petdiff.io import Units
from petdiff.units import drf_of

_COLUMNS = ("scan", "name", "series", "dose", "units", "suv_factor")
_MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class ListedScan:
    """A row of a list; `name` is empty if the row has none."""

    name: str
    request: Request


def is_list(path: Path) -> bool:
    """Return whether a path is a list of scans, by its suffix."""
    return path.suffix.lower() == ".csv" and not path.is_dir()


def read_list(path: Path, template: Request) -> list[ListedScan]:
    """Return the requests for the scans of a list. Empty cells have the values of `template`.

    Relative paths start at the list's folder. Raises InputRefused that names the line for a list
    that cannot be used.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputRefused(f"{path} is too large for a list of scans")
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or ())
            rows = [
                _scan(path, number, row, template)
                for number, row in enumerate(reader, start=2)
                if any(row.values())
            ]
    except (OSError, csv.Error) as problem:
        raise InputRefused(f"{path} is no list of scans ({problem})") from problem
    _check_names(path, rows)
    return rows


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in _COLUMNS]
    if "scan" not in columns or unknown:
        wrong = f"column {unknown[0]!r} is not known" if unknown else "there is no column scan"
        raise InputRefused(
            f"{path} is no list of scans ({wrong}): its first line names the columns, separated by "
            f"commas: scan and, if needed, {', '.join(_COLUMNS[1:])}"
        )


def _scan(path: Path, number: int, row: Mapping[str, str | None], default: Request) -> ListedScan:
    def value(column: str) -> str:
        return (row.get(column) or "").strip()

    def wrong(reason: object) -> InputRefused:
        return InputRefused(f"{path}, line {number}: {reason}")

    if None in row or not value("scan"):
        raise wrong("there are more values than columns" if None in row else "no scan")
    name, units, options = value("name"), value("units"), default.options
    if Path(name).name != name or name.startswith("."):
        raise wrong(f"name {name!r} is no name of a folder")
    if units not in ("", "suv", "bqml"):
        raise wrong(f"units {units!r} is neither suv nor bqml")
    try:
        if value("dose"):
            drf = drf_of(value("dose"))
            options = options.model_copy(update={"drf": drf if drf > 1 else None})
        factor = float(value("suv_factor")) if value("suv_factor") else default.suv_factor
    except (PetdiffError, ValueError) as problem:
        raise wrong(problem) from None
    return ListedScan(
        name,
        replace(
            default,
            scan=path.absolute().parent / Path(value("scan")).expanduser(),
            options=options,
            series=value("series") or default.series,
            units=cast(Units, units) if units else default.units,
            suv_factor=factor,
        ),
    )


def _check_names(path: Path, rows: list[ListedScan]) -> None:
    names = [row.name.casefold() for row in rows if row.name]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputRefused(f"{path}: name {repeated[0]!r} is given to two scans")
