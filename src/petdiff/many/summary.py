"""Write summary.csv and index.html: the status of all scans in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from petdiff.errors import with_scan_options
from petdiff.many.rows import FOLDER, ScanRow, read_row
from petdiff.report.index_page import write_index
from petdiff.runs import whole_file, write_csv

COLUMNS = ("scan", "status", "reason", "seconds", "activity_change", "warnings")
_MAX_REPETITIONS = 20


def write_summary(output: Path, names: Sequence[str]) -> list[Path]:
    """Write summary.csv and index.html of all scans in the folder; returns their paths.

    names  scans that may not have started; they are listed as waiting

    Several processes may end at the same time. Each writes again if another has ended meanwhile, so
    that the last one lists all scans.
    """
    files = [output / "summary.csv", output / "index.html"]
    for _ in range(_MAX_REPETITIONS):
        before = _state(output)
        shown = [_with_options(row) for row in collect_rows(output, names)]
        with whole_file(files[0], replace=True) as unfinished:
            write_csv(unfinished, COLUMNS, map(_cells, shown))
        with whole_file(files[1], replace=True) as unfinished:
            write_index(unfinished, shown)
        if _state(output) == before:
            break
    return files


def collect_rows(output: Path, names: Sequence[str]) -> list[ScanRow]:
    """Return the status of all scans in the folder and of those in `names`, sorted by name."""
    stored = {file.name.removesuffix(".json") for file in _row_files(output)}
    rows, wanted = [], set(names)
    for name in sorted(stored | wanted):
        row = read_row(output, name)
        if row is not None or name in wanted:
            rows.append(row or ScanRow(scan=name, status="waiting"))
    return rows


def _row_files(output: Path) -> list[Path]:
    return [file for file in (output / FOLDER).glob("*.json") if not file.name.startswith(".")]


def _state(output: Path) -> set[tuple[str, int]]:
    state = set()
    for file in _row_files(output):
        try:
            state.add((file.name, file.stat().st_mtime_ns))
        except OSError:  # replaced in this moment
            state.add((file.name, 0))
    return state


def _with_options(row: ScanRow) -> ScanRow:
    """Return a row whose messages name options instead of arguments."""
    warnings = tuple(map(with_scan_options, row.warnings))
    return row.model_copy(update={"reason": with_scan_options(row.reason), "warnings": warnings})


def _cells(row: ScanRow) -> tuple[object, ...]:
    """Return the cells of a scan in the order of COLUMNS."""
    seconds = None if row.status == "waiting" else f"{row.seconds:.3f}"
    change = None if row.change is None else f"{row.change:.5f}"
    return row.scan, row.status, row.reason, seconds, change, " | ".join(row.warnings)
