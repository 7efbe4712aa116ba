"""The section of a cohort's page on lost lesions and invented foci."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from petdiff.data.layouts import Drf
from petdiff.evaluation.cohort.definition import FULL_DOSE
from petdiff.evaluation.cohort.table import Table, fraction
from petdiff.evaluation.detection.lesion_study import Reading
from petdiff.evaluation.detection.lesion_summary import ALL, FALSE_PER_SCAN, LesionRow
from petdiff.report.comparison_plots import froc_curves

_EXPLAINED = f"""Each patient was scanned with and without lesions. <em>Missed</em> and
<em>lost</em> compare methods at {FALSE_PER_SCAN:g} false focus per scan, each at its own threshold;
<em>invented</em> counts the foci that neither the true uptake nor the full-dose scan shows, at the
threshold of full dose. Small: 95 % intervals (bootstrap over patients: too narrow for few
patients, and of no width if they do not differ; if none of <var>n</var> lesions is missed, the
rate may be up to 3/<var>n</var>)."""
_TABLED = {
    "froc_area": "Sensitivity, mean up to {false:g} false focus per scan",
    "miss_rate": "Lesions missed (%)",
    "lost_rate": "Lesions lost, of those found at full dose (%)",
    "invented_foci": "Foci invented per scan",
    "hotelling_auc": "AUC of a Hotelling observer, place known",
}
_RELATIVE_TO_FULL = ("lost_rate", "invented_foci")  # 0 for the full-dose scan by definition

Cells = Mapping[tuple[str, Drf], LesionRow]


def lesion_section(rows: Sequence[LesionRow], readings: Sequence[Reading], table: Table) -> str:
    """Return curves, a table per metric, and misses by size and contrast; "" without lesions."""
    if not rows:
        return ""
    grids = "\n".join(
        _grid(metric, title.format(false=FALSE_PER_SCAN), _cells(rows, metric, ALL), table)
        for metric, title in _TABLED.items()
    )
    strata = "\n".join(_strata(rows, dose, table) for dose in table.doses)
    return (
        f'<h2>Lesions lost, foci invented</h2><p class="faint">{_EXPLAINED}</p>'
        f'<div class="grids">{grids}</div>{froc_curves(readings, table)}'
        f"<h3>Missed, by diameter and contrast</h3>{strata}"
    )


def _cells(rows: Iterable[LesionRow], metric: str, stratum: str) -> Cells:
    chosen = (row for row in rows if (row.metric, row.stratum) == (metric, stratum))
    return {(row.method, row.dose): row for row in chosen}


def _grid(metric: str, title: str, cells: Cells, table: Table) -> str:
    """Return a table: a row per method, a column per dose; one value for full dose."""
    if not cells:
        return ""
    head = "".join(f"<th>{fraction(dose)}</th>" for dose in table.doses)
    body = []
    if (FULL_DOSE, 1.0) in cells and metric not in _RELATIVE_TO_FULL:
        full = _cell(cells[FULL_DOSE, 1.0], len(table.doses))
        body.append(f"<tr><th scope=row>full dose</th>{full}</tr>")
    for method in table.methods:
        shown = "".join(_cell(cells.get((method, dose))) for dose in table.doses)
        body.append(f"<tr><th scope=row>{escape(method)}</th>{shown}</tr>")
    return (
        f"<div><h3>{escape(title)}</h3><table><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _strata(rows: Sequence[LesionRow], dose: Drf, table: Table) -> str:
    """Return a table: a row per size and contrast, a column per method."""
    missed = [row for row in rows if row.metric == "miss_rate" and row.stratum != ALL]
    names = dict.fromkeys(row.stratum for row in missed)
    columns = [(FULL_DOSE, 1.0), *((method, dose) for method in table.methods)]
    body = []
    for name in names:
        cells = _cells(missed, "miss_rate", name)
        lesions = max(row.n for row in cells.values())
        shown = "".join(_cell(cells.get(column)) for column in columns)
        body.append(f"<tr><th scope=row>{escape(name)}</th><td>{lesions}</td>{shown}</tr>")
    head = "".join(f"<th>{escape(method)}</th>" for method, _ in columns)
    return (
        f'<details class="grids"><summary>at {fraction(dose)} (%)</summary><table><thead><tr>'
        f"<th>diameter, uptake over surroundings</th><th>lesions</th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></details>"
    )


def _cell(row: LesionRow | None, across: int = 1) -> str:
    if row is None:
        return "<td>–</td>"
    interval = (
        ""
        if row.low is None or row.high is None
        else f"<small>{_shown(row.metric, row.low)} … {_shown(row.metric, row.high)}</small>"
    )
    wide = f' class="wide" colspan={across}' if across > 1 else ""
    return f"<td{wide}>{_shown(row.metric, row.value)}{interval}</td>"


def _shown(metric: str, value: float) -> str:
    return f"{100 * value:.0f}" if metric.endswith("_rate") else f"{value:.2f}"
