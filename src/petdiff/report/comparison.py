"""Write report.html of a cohort: a comparison of methods in one file without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from petdiff.data.layouts import Drf, dose_key
from petdiff.evaluation.cohort.claims import ClaimResult
from petdiff.evaluation.cohort.compared_metrics import INTERVAL_LEVELS, METRICS, Metric
from petdiff.evaluation.cohort.definition import (
    FULL_DOSE,
    GAUSSIAN,
    OWN,
    Cohort,
    worst_case_methods,
)
from petdiff.evaluation.cohort.exam import CohortRow
from petdiff.evaluation.cohort.snapshots import PROJECTION, SLICE, PictureGeometry
from petdiff.evaluation.cohort.stored import FinishedExam
from petdiff.evaluation.cohort.summary import OVERALL, Mean, PairTest, Summary
from petdiff.evaluation.cohort.table import Table, fraction
from petdiff.evaluation.detection.lesion_summary import LesionRow
from petdiff.evaluation.statistics import MIN_PATIENTS, SIGNIFICANT
from petdiff.report import comparison_plots as plots
from petdiff.report.comparison_lesions import lesion_section
from petdiff.report.html_page import header, part, write_html, written_now
from petdiff.report.png import png
from petdiff.units import counted, with_minus

_MAX_CASES = 6
_PICTURE_PX = 150  # across
_UNTABLED = (
    "lesion_suv_peak_error", *(f"within_interval_{n}" for n in INTERVAL_LEVELS if n != 90),
)  # fmt: skip
_TABLED = tuple(m for m in METRICS if m.name not in _UNTABLED)
_PERCENT = ("lesion_suv_peak_bias", "liver_cov", "nrmse", "within_interval_90", "alarms")


@dataclass(frozen=True, eq=False)
class _Case:
    """A scan with a large error, and the reason why it is shown."""

    done: FinishedExam
    dose: Drf
    why: str
    error: float


def write_comparison(
    path: Path,
    cohort: Cohort,
    table: Table,
    summary: Summary,
    lesions: Sequence[LesionRow],
    done: Sequence[FinishedExam],
    *,
    name: str,
) -> None:
    """Write a cohort's page.

    summary  of the table
    lesions  result of `summarise_lesions` for all readings
    done     the finished exams, with pictures
    name     title of the page: file name of the cohort
    """
    readings = [reading for one in done for reading in one.readings]
    worst = worst_cases(done, worst_case_methods(cohort.methods))
    write_html(
        path,
        "comparison.html",
        title=escape(name),
        style=part("viewer/page.css") + part("comparison.css"),
        header=header(escape(name), escape(_scope(cohort, summary)), written_now()),
        warnings=_warnings(summary),
        claims=_claims(summary.claims),
        legend=escape(_legend(summary)),
        tables="\n".join(_grid(metric, table, summary) for metric in _TABLED),
        trends=plots.trends(table),
        texture=plots.texture(table),
        reliability=plots.reliability(table),
        agreement=plots.agreement(_peaks(done), table),
        lesions=lesion_section(lesions, readings, table),
        cases="\n".join(_pictures(case, table.methods) for case in worst),
    )


def worst_cases(done: Sequence[FinishedExam], shown: Sequence[str]) -> list[_Case]:
    """Return the scans to show, largest error first, each scan once.

    Alternately: the largest losses of PSNR against the best Gaussian, and the largest errors of
    SUVpeak of lesions in the pictures, both of the methods `shown`.
    """
    losses: list[_Case] = []
    errors: list[_Case] = []
    for one in done:
        rows = one.rows
        losses += _losses(one, rows, shown)
        errors += _lesion_errors(one, rows, shown)
    ranked = [sorted(kind, key=lambda case: -case.error) for kind in (losses, errors)]
    chosen: dict[tuple[str, Drf], _Case] = {}
    for n in range(max(map(len, ranked), default=0)):
        for kind in ranked:
            if n < len(kind) and len(chosen) < _MAX_CASES:
                chosen.setdefault((kind[n].done.exam.name, kind[n].dose), kind[n])
    return list(chosen.values())


def _losses(one: FinishedExam, rows: Sequence[CohortRow], shown: Sequence[str]) -> Iterator[_Case]:
    psnr = {
        (row.method, row.dose): row.value
        for row in rows
        if row.metric == "psnr_db" and row.value is not None
    }
    for (method, dose), value in psnr.items():
        gaussian = psnr.get((GAUSSIAN, dose))
        if method in shown and method != GAUSSIAN and gaussian is not None:
            gain = value - gaussian
            why = f"{method} {with_minus(f'{gain:+.2f}')} dB against the best Gaussian"
            yield _Case(one, dose, why, -gain)


def _lesion_errors(
    one: FinishedExam, rows: Sequence[CohortRow], shown: Sequence[str]
) -> Iterator[_Case]:
    """Yield the changes of SUVpeak of the lesions that are in the pictures."""
    for row in rows:
        if row.metric != "suv_peak_bias" or row.method not in shown or row.value is None:
            continue
        if row.region == one.places[dose_key(row.dose)].lesion:
            change = with_minus(f"{row.value:+.0%}")
            why = f"{row.method} changes SUVpeak of {row.region} by {change}"
            yield _Case(one, row.dose, why, abs(row.value))


def _peaks(done: Sequence[FinishedExam]) -> list[plots.Peak]:
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


def _scope(cohort: Cohort, summary: Summary) -> str:
    people = counted(summary.patients, "patient")
    doses = counted(len(summary.means["psnr_db"]) - 1, "dose")
    if cohort.pairs is not None:
        return f"{people} (own pairs), {doses}, {counted(len(summary.methods), 'method')}"
    voxels = f"{cohort.voxel_mm:g} mm voxels" if cohort.voxel_mm else "the scanners' own voxels"
    return (
        f"{people} (simulated, seed {cohort.seed} on; {cohort.extent}; {voxels}) × "
        f"{counted(len(cohort.scanners), 'scanner')} × "
        f"{counted(len(cohort.tracers), 'tracer')} × {doses}: "
        f"{counted(summary.scans, 'low-dose scan')}, {counted(len(summary.methods), 'method')}"
    )


def _warnings(summary: Summary) -> str:
    return "\n".join(
        f'<p class="warning"><strong>Warning.</strong> {escape(warning)}</p>'
        for warning in summary.warnings
    )


def _claims(claims: Sequence[ClaimResult]) -> str:
    """Return the claims of the cohort's file, coloured by verdict; "" without claims."""
    return "\n".join(
        f'<p class="{claim.verdict}"><strong>{escape(claim.title)}.</strong> '
        f"{escape(claim.sentence)}</p>"
        for claim in claims
    )


def _legend(summary: Summary) -> str:
    what = (
        "Means over patients; a patient's value is the average over scanners and tracers. "
        "Bold: the best mean; of a bias, the one nearest to zero. Not ranked: liver COV, mean "
        "gradient, time, intervals, audit and alarms. Blurring lowers the liver COV, and doing "
        "nothing takes no time."
    )
    if summary.patients < MIN_PATIENTS:
        return (
            f"{what} Intervals and tests need {MIN_PATIENTS} patients or more; there are "
            f"{summary.patients}, so differences may be chance."
        )
    return (
        f"{what} Below the means: 95 % intervals over patients. Asterisk: worse than the best with "
        "p < 0.05 (Wilcoxon's test over patients, of a bias on absolute values, Holm's correction "
        "over all pairs of methods)."
    )


def _grid(metric: Metric, table: Table, summary: Summary) -> str:
    """Return the table of one metric: a row per method, a column per dose and for all doses."""
    heads = {dose_key(dose): fraction(dose) for dose in table.doses}
    slots = [*heads, OVERALL] if len(heads) > 1 else list(heads)
    means = summary.means[metric.name]
    if all(cell.mean is None for slot in slots for cell in means[slot].values()):
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


def _best(metric: Metric, cells: Mapping[str, Mean]) -> str | None:
    known = {method: cell.mean for method, cell in cells.items() if cell.mean is not None}
    if not known or not metric.is_ranked:
        return None
    sign = metric.better
    return max(known, key=lambda m: sign * known[m] if sign else -abs(known[m]))


def _cell(
    metric: Metric,
    cell: Mean,
    slot: str,
    method: str,
    best: str | None,
    summary: Summary,
) -> str:
    if cell.mean is None:
        return "<td>–</td>"
    classes = [*(["overall"] if slot == OVERALL else []), *(["best"] if method == best else [])]
    low, high = cell.low, cell.high
    interval = (
        ""
        if low is None or high is None
        else f"<small>{_shown(metric, low)} … {_shown(metric, high)}</small>"
    )
    star = "*" if _worse(metric, summary.tests[metric.name][slot], method, best) else ""
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<td{attribute}>{_shown(metric, cell.mean)}{star}{interval}</td>"


def _worse(metric: Metric, tests: Sequence[PairTest], method: str, best: str | None) -> bool:
    """Return whether a method is significantly worse than the best, both by mean and by ranks.

    They may disagree, because one outlier can dominate a mean.
    """
    for test in tests:
        if {test.method, test.against} == {method, best} and test.holm_p < SIGNIFICANT:
            sign = metric.better or -1  # biases are compared by their absolute values
            sign *= 1 if test.method == method else -1
            return sign * test.difference < 0 and sign * test.rank_biserial < 0
    return False


def _shown(metric: Metric, value: float) -> str:
    if metric.name in _PERCENT:
        sign = "+" if metric.name == "lesion_suv_peak_bias" else ""
        return with_minus(f"{100 * value:{sign}.1f}")
    if metric.name == "ssim":
        return f"{value:.4f}"
    return f"{value:.2f}"


def _pictures(case: _Case, methods: Sequence[str]) -> str:
    exam, place = case.done.exam, case.done.places[dose_key(case.dose)]
    where = (
        exam.label
        if exam.scanner == OWN
        else f"{exam.scanner}, {exam.tracer}, patient {exam.patient}"
    )
    title = f"{where}, dose {fraction(case.dose)}: {case.why}"
    if place.lesion:
        title += f"; ringed: {place.lesion}"
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


def _figure(case: _Case, method: str, psnr: float | None, place: PictureGeometry) -> str:
    caption = f"{method}, {psnr:.2f} dB" if psnr is not None else f"{method} dose"
    shown = "".join(_picture(case, method, kind, place) for kind in (PROJECTION, SLICE))
    return f"<figure><figcaption>{escape(caption)}</figcaption>{shown}</figure>"


def _picture(case: _Case, method: str, kind: str, place: PictureGeometry) -> str:
    """Return one picture. A click or the space key enlarges it (CSS only)."""
    grey = case.done.picture(f"{dose_key(case.dose)}/{method}/{kind}")
    down, across = (int(n) * mm for n, mm in zip(grey.shape, place.pixel_mm, strict=True))
    ring = ""
    if kind == SLICE and place.at:
        y, x = place.at
        ring = f'<span class="ring" style="top:{100 * y:.1f}%;left:{100 * x:.1f}%"></span>'
    name = escape(f"{method}, {kind}")
    return (
        f'<label class="picture" style="--width:{_PICTURE_PX}px;--shape:{across / down:.4f}" '
        f'title="Click to enlarge"><input type="checkbox" aria-label="Enlarge {name}">'
        f'<span class="frame"><img alt="{name}" src="data:image/png;base64,{png(grey)}">{ring}'
        "</span></label>"
    )
