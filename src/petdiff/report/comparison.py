"""report.html of a cohort: every method against every other, in one file that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from petdiff import __version__
from petdiff.evaluation.cohort.definition import FILTERS, FULL_DOSE, GAUSSIAN, OWN, Cohort
from petdiff.evaluation.cohort.run import Done
from petdiff.evaluation.cohort.snapshots import PROJECTION, SLICE, Grey
from petdiff.evaluation.cohort.summary import METRICS, OVERALL, UNRANKED, Metric, Table, fraction
from petdiff.evaluation.cohort.unit import CohortRow
from petdiff.evaluation.detection.lesion_summary import Row
from petdiff.report import comparison_plots as plots
from petdiff.report.comparison_lesions import lesion_section

LARGEST_PAGE_BYTES = 15_000_000
_MOST_CASES = 6
_PICTURE_PX = 150  # across
_REPORT = resources.files("petdiff") / "report"
_TABLED = tuple(m for m in METRICS if m.name != "lesion_suv_peak_error")
_PERCENT = ("lesion_suv_peak_bias", "liver_cov", "nrmse")


@dataclass(frozen=True, eq=False)
class _Case:
    """A scan that is worth a look, and why."""

    done: Done
    dose: float
    why: str
    badness: float


def write_comparison(
    path: Path,
    cohort: Cohort,
    table: Table,
    summary: Mapping[str, Any],
    lesions: Sequence[Row],
    done: Sequence[Done],
    *,
    name: str,
) -> None:
    """Write a cohort's page.

    summary  as `cohort_summary.summarise` gives it of the table
    lesions  as `summarise_lesions` gives it of all readings
    done     the units, whose pictures are shown
    name     how the page is called: the cohort's file
    """
    readings = [reading for one in done for reading in one.readings]
    worst = worst_cases(done, table, [m for m, asked in cohort.methods.items() if asked.is_filter])
    page = Template(_part("comparison.html")).substitute(
        style=_part("viewer/page.css") + _part("comparison.css"),
        name=escape(name),
        scope=escape(_scope(cohort, summary)),
        finished=f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
        petdiff=escape(__version__),
        claims="\n".join(_claim(claim) for claim in summary["claims"]),
        legend=escape(_legend(summary)),
        tables="\n".join(_grid(metric, table, summary) for metric in _TABLED),
        trends=plots.trends(table),
        texture=plots.texture(table),
        agreement=plots.agreement(_peaks(done), table),
        lesions=lesion_section(lesions, readings, table),
        cases="\n".join(_pictures(case, table.methods) for case in worst),
    )
    path.write_text(page, encoding="utf-8", newline="\n")


def worst_cases(
    done: Sequence[Done], table: Table, filters: Collection[str] = FILTERS
) -> list[_Case]:
    """Scans to look at: a model's largest losses to the best Gaussian, and the lesions that a model
    gets most wrong; in turn, worst first, no scan twice. Without a model, the filters' own."""
    models = [m for m in table.methods if m not in filters] or list(table.methods)
    losses: list[_Case] = []
    errors: list[_Case] = []
    for one in done:
        rows = one.rows
        losses += _losses(one, rows, models)
        errors += _lesion_errors(one, rows, models)
    ranked = [sorted(kind, key=lambda case: -case.badness) for kind in (losses, errors)]
    chosen: dict[tuple[str, float], _Case] = {}
    for n in range(max(map(len, ranked), default=0)):
        for kind in ranked:
            if n < len(kind) and len(chosen) < _MOST_CASES:
                chosen.setdefault((kind[n].done.unit.name, kind[n].dose), kind[n])
    return list(chosen.values())


def _losses(one: Done, rows: Sequence[CohortRow], models: Sequence[str]) -> Iterator[_Case]:
    psnr = {
        (row.method, row.dose): row.value
        for row in rows
        if row.metric == "psnr_db" and row.value is not None
    }
    for (method, dose), value in psnr.items():
        gaussian = psnr.get((GAUSSIAN, dose))
        if method in models and method != GAUSSIAN and gaussian is not None:
            gain = value - gaussian
            why = f"{method} {_signed(f'{gain:+.2f}')} dB against the best Gaussian"
            yield _Case(one, dose, why, -gain)


def _lesion_errors(one: Done, rows: Sequence[CohortRow], models: Sequence[str]) -> Iterator[_Case]:
    for row in rows:
        if row.metric == "suv_peak_bias" and row.method in models and row.value is not None:
            change = _signed(f"{row.value:+.0%}")
            why = f"{row.method} changes SUVpeak of {row.region} by {change}"
            yield _Case(one, row.dose, why, abs(row.value))


def _signed(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _peaks(done: Sequence[Done]) -> list[plots.Peak]:
    found = []
    for one in done:
        rows = [r for r in one.rows if r.metric == "suv_peak" and r.value is not None]
        full = {row.region: row.value for row in rows if row.method == FULL_DOSE}
        found += [
            plots.Peak(row.method, row.dose, float(full[row.region] or 0), float(row.value or 0))
            for row in rows
            if row.method != FULL_DOSE and row.region in full
        ]
    return found


def _scope(cohort: Cohort, summary: Mapping[str, Any]) -> str:
    people = _counted(summary["patients"], "patient")
    doses = _counted(len(summary["means"]["psnr_db"]) - 1, "dose")
    if cohort.pairs is not None:
        return f"{people} (own pairs), {doses}, {len(summary['methods'])} methods"
    voxels = f"{cohort.voxel_mm:g} mm voxels" if cohort.voxel_mm else "the scanners' own voxels"
    return (
        f"{people} (simulated, seed {cohort.seed} on; {cohort.extent}; {voxels}) × "
        f"{_counted(len(cohort.scanners), 'scanner')} × "
        f"{_counted(len(cohort.tracers), 'tracer')} × {doses}: "
        f"{summary['scans']} low-dose scans, {len(summary['methods'])} methods"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _claim(claim: Mapping[str, Any]) -> str:
    looks = {True: "holds", False: "fails", None: "open"}[claim["holds"]]
    title, sentence = escape(claim["title"]), escape(claim["sentence"])
    return f'<p class="{looks}"><strong>{title}.</strong> {sentence}</p>'


def _legend(summary: Mapping[str, Any]) -> str:
    what = "Means over patients of what each patient has on average over scanners and tracers"
    if summary["patients"] < 2:
        return f"{what}. With one patient there are no intervals and no tests."
    return (
        f"{what}; below them 95 % intervals (bootstrap over patients). Bold: the best. Asterisk: "
        "worse than it with p < 0.05 (Wilcoxon over patients, Holm over all pairs of methods). "
        "Liver COV and time are not ranked: blurring lowers the one, doing nothing the other."
    )


def _grid(metric: Metric, table: Table, summary: Mapping[str, Any]) -> str:
    """One metric: methods down, doses across, all doses at the end."""
    heads = {f"{dose:g}": fraction(dose) for dose in table.doses}
    slots = [*heads, OVERALL] if len(heads) > 1 else list(heads)
    means = summary["means"][metric.name]
    if all(cell["mean"] is None for slot in slots for cell in means[slot].values()):
        return ""
    best = {slot: _best(metric, means[slot]) for slot in slots}
    head = "".join(
        f"<th{' class=overall' if s == OVERALL else ''}>{heads.get(s, s)}</th>" for s in slots
    )
    body = []
    for method in table.methods:
        cells = "".join(
            _cell(metric, means[slot][method], slot, method, best[slot], summary) for slot in slots
        )
        body.append(f"<tr><th scope=row>{escape(method)}</th>{cells}</tr>")
    unit = "%" if metric.name in _PERCENT else metric.unit.replace("1", "")
    title = f"{metric.title}{f' ({unit})' if unit else ''}"
    return (
        f"<div><h3>{escape(title)}</h3><table><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _best(metric: Metric, cells: Mapping[str, Mapping[str, Any]]) -> str | None:
    known = {method: cell["mean"] for method, cell in cells.items() if cell["mean"] is not None}
    if not known or metric.name in UNRANKED:
        return None
    sign = metric.better
    return max(known, key=lambda m: sign * known[m] if sign else -abs(known[m]))


def _cell(
    metric: Metric,
    cell: Mapping[str, Any],
    slot: str,
    method: str,
    best: str | None,
    summary: Mapping[str, Any],
) -> str:
    if cell["mean"] is None:
        return "<td>–</td>"
    classes = [*(["overall"] if slot == OVERALL else []), *(["best"] if method == best else [])]
    low, high = cell["low"], cell["high"]
    interval = (
        "" if low is None else f"<small>{_shown(metric, low)} … {_shown(metric, high)}</small>"
    )
    star = "*" if _worse(metric, summary["tests"][metric.name][slot], method, best) else ""
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<td{attribute}>{_shown(metric, cell['mean'])}{star}{interval}</td>"


def _worse(
    metric: Metric, tests: Sequence[Mapping[str, Any]], method: str, best: str | None
) -> bool:
    """Whether the test says so, by its mean and by its ranks: they need not agree."""
    for test in tests:
        if {test["method"], test["against"]} == {method, best} and test["holm_p"] < 0.05:
            sign = metric.better or -1  # of a bias the sizes are compared
            sign *= 1 if test["method"] == method else -1
            return bool(sign * test["difference"] < 0 and sign * test["rank_biserial"] < 0)
    return False


def _shown(metric: Metric, value: float) -> str:
    if metric.name in _PERCENT:
        sign = "+" if metric.name == "lesion_suv_peak_bias" else ""
        return _signed(f"{100 * value:{sign}.1f}")
    if metric.name == "ssim":
        return f"{value:.4f}"
    return f"{value:.2f}"


def _pictures(case: _Case, methods: Sequence[str]) -> str:
    unit, place = case.done.unit, case.done.places[f"{case.dose:g}"]
    where = (
        unit.patient
        if unit.scanner == OWN
        else f"{unit.scanner}, {unit.tracer}, patient {unit.patient}"
    )
    title = f"{where}, dose {fraction(case.dose)}: {case.why}"
    if place["lesion"]:
        title += f"; ringed: {place['lesion']}"
    psnr = {
        row.method: row.value
        for row in case.done.rows
        if row.metric == "psnr_db" and row.dose == case.dose
    }
    figures = "".join(
        _figure(case, method, psnr.get(method), place) for method in (FULL_DOSE, *methods)
    )
    return (
        f'<section class="case"><h3>{escape(title)}</h3><div class="row">{figures}</div></section>'
    )


def _figure(case: _Case, method: str, psnr: float | None, place: Mapping[str, Any]) -> str:
    caption = f"{method}, {psnr:.2f} dB" if psnr is not None else f"{method} dose"
    shown = []
    for kind in (PROJECTION, SLICE):
        grey = case.done.picture(f"{case.dose:g}/{method}/{kind}")
        down, across = np.array(grey.shape) * place["pixel_mm"]
        height_px = round(_PICTURE_PX * down / across)
        ring = ""
        if kind == SLICE and place["at"]:
            y, x = place["at"]
            ring = f'<span class="ring" style="top:{100 * y:.1f}%;left:{100 * x:.1f}%"></span>'
        shown.append(
            f'<div class="picture" style="width:{_PICTURE_PX}px;height:{height_px}px">'
            f'<img alt="{escape(f"{method}, {kind}")}" src="data:image/png;base64,{_png(grey)}">'
            f"{ring}</div>"
        )
    return f"<figure><figcaption>{escape(caption)}</figcaption>{''.join(shown)}</figure>"


def _png(grey: Grey) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(grey, "L").save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _part(name: str) -> str:
    return _REPORT.joinpath(name).read_text(encoding="utf-8")
