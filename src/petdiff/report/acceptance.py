"""Write report.html of an acceptance test: verdicts, figures and limits of the test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from petdiff.acceptance.measure import FILTER, FULL, LEVEL, MODEL, THINNED
from petdiff.acceptance.phantom import EARL_VERSION
from petdiff.acceptance.run import Acceptance
from petdiff.acceptance.verdict import Difference, Verdict, mean_of
from petdiff.evaluation.phantom import DIAMETERS_MM
from petdiff.evaluation.statistics import MIN_PATIENTS, paired
from petdiff.report.html_page import header, part, write_html, written_now
from petdiff.units import counted, share_of, with_minus

_CLASSES = {
    "better": "confirmed", "worse": "refuted", "not told apart": "", "no verdict": "",
}  # fmt: skip
_COUNT = ""  # the number format of a figure that is summed over the scans
# Metric, title and number format.
_SHOWN = (
    ("psnr_db", "PSNR, dB", "{:.2f}"),
    ("ssim", "SSIM", "{:.4f}"),
    ("suv_mean_bias", "SUVmean of hot spots, bias", "{:+.1%}"),
    ("suv_max_bias", "SUVmax of hot spots, bias", "{:+.1%}"),
    ("suv_peak_bias", "SUVpeak of hot spots, bias", "{:+.1%}"),
    ("organ_suv_mean_bias", "SUVmean of organs, bias", "{:+.1%}"),
    ("cov_30mm_sphere", "Liver COV", "{:.1%}"),
    ("within_interval", f"Voxels within their {LEVEL:.0%} interval", "{:.1%}"),
    ("audit_fabrications", "Fabrications that the audit lists", _COUNT),
    ("audit_omissions", "Omissions that the audit lists", _COUNT),
    ("audit_false_alarms", "Of both, contradicted by the full-dose scan", _COUNT),
    ("alarms", "Scans unlike those that the model knows", _COUNT),
    ("fwhm_mm", "Filter, FWHM in mm", "{:.1f}"),
    ("seconds", "Seconds per scan", "{:.1f}"),
)
# Range of possible values of a metric, beyond which its interval does not reach.
_POSSIBLE = {
    "ssim": (-1.0, 1.0), "cov_30mm_sphere": (0.0, math.inf), "within_interval": (0.0, 1.0),
    "fwhm_mm": (0.0, math.inf), "seconds": (0.0, math.inf),
}  # fmt: skip
_METHODS = (FULL, THINNED, FILTER, MODEL)


def write_acceptance(path: Path, acceptance: Acceptance) -> None:
    """Write the page, without names of patients and files."""
    write_html(
        path,
        "acceptance.html",
        title="Acceptance test",
        style=part("viewer/page.css") + part("comparison.css"),
        header=header("Acceptance test", escape(_scope(acceptance)), written_now()),
        verdicts="\n".join(_verdict(verdict, acceptance) for verdict in acceptance.verdicts),
        warnings="\n".join(
            f'<p class="warning">{escape(text)}</p>' for text in acceptance.warnings
        ),
        tables="\n".join(_table(acceptance, drf) for drf in acceptance.plan.doses),
        phantom=_phantom(acceptance),
        limits="\n".join(f"<li>{escape(text)}</li>" for text in limits(acceptance)),
    )


def verdict_text(verdict: Verdict, acceptance: Acceptance) -> str:
    """Return the verdict as sentences."""
    name = f"{acceptance.model} at {share_of(verdict.drf)} of the dose"
    against = "the Gaussian filter that is best for each scan"
    if acceptance.plan.filter_fwhm_mm is not None:
        against = f"a Gaussian filter of {acceptance.plan.filter_fwhm_mm:g} mm"
    words = {
        "better": f"{name}: better than {against}.",
        "worse": f"{name}: worse than {against}.",
        "not told apart": f"{name}: not told apart from {against}.",
        "no verdict": f"{name}: no verdict on {counted(verdict.psnr_db.n, 'scan')}.",
    }
    text = f"{words[verdict.judgement]} Model minus filter, with its 95 % interval: PSNR in dB "
    text += _signed(verdict.psnr_db, "{:+.2f}")
    text += f", higher on {verdict.wins} of {verdict.psnr_db.n} scans"
    if verdict.peak_error.n:
        size = _signed(verdict.peak_error, "{:+.1%}").replace("%", "")
        text += f"; absolute error of SUVpeak of hot spots in percentage points {size}"
    return f"{text}."


def limits(acceptance: Acceptance) -> list[str]:
    """Return what the test has shown and its limits, in sentences."""
    scans = acceptance.taken
    organs, spots = sum(s.organs > 0 for s in scans), sum(s.spots > 0 for s in scans)
    return [
        f"Shown: how {acceptance.model} compares with the filter on "
        f"{counted(len(scans), 'scan')} of this scanner, protocol and tracer, at simulated doses.",
        "Not shown: real low-dose scans. The noise was added by petdiff, with the strength "
        "and correlation expected from the scans' own noise. On simulated scans it is within 20 % "
        "of that of thinned counts in nine of ten organs. Motion, randoms, scatter and dead time "
        "at another dose are not part of it.",
        "The full-dose scan is the reference and is noisy itself. What the model removes of its "
        "noise counts as an error.",
        f"Hot spots were found in {spots} of {len(scans)} scans by petdiff, not by a reader; "
        "organs with uptake are among them. Whether lesions are lost or invented was not tested.",
        f"Labelled organs, which the liver's COV needs, were given for {organs} of {len(scans)} "
        "scans.",
        f"A verdict is on PSNR alone, at 95 % confidence for each dose by itself, and needs "
        f"{MIN_PATIENTS} scans. Each scan is taken as another patient.",
    ]


def _scope(acceptance: Acceptance) -> str:
    scanners = sorted({scan.scanner for scan in acceptance.taken if scan.scanner})
    where = scanners[0] if scanners else "scanner not stated"
    doses = ", ".join(share_of(drf) for drf in acceptance.plan.doses)
    return (
        f"{acceptance.model} (sha256 {acceptance.sha256[:12]}) on {len(acceptance.taken)} of "
        f"{len(acceptance.scans)} scans · {where} · doses {doses}"
    )


def _verdict(verdict: Verdict, acceptance: Acceptance) -> str:
    kind = _CLASSES[verdict.judgement]
    return f'<p class="{kind}"><strong>{escape(verdict_text(verdict, acceptance))}</strong></p>'


def _signed(difference: Difference, number_format: str) -> str:
    if difference.mean is None:
        return "–"
    mean = _number(difference.mean, number_format)
    if difference.low is None or difference.high is None:
        return mean
    low, high = (_number(end, number_format) for end in (difference.low, difference.high))
    return f"{mean} ({low} to {high})"


def _number(value: float, number_format: str) -> str:
    return with_minus(number_format.format(value))


def _table(acceptance: Acceptance, drf: float) -> str:
    shown = [m for m in _METHODS if m != FULL or any(scan.organs for scan in acceptance.taken)]
    head = "".join(f"<th>{escape(name)}</th>" for name in shown)
    body = "\n".join(_rows(acceptance, drf, shown))
    return (
        f"<table><caption>{share_of(drf)} of the dose</caption><thead><tr><th></th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table>"
    )


def _rows(acceptance: Acceptance, drf: float, methods: Sequence[str]) -> Iterator[str]:
    for metric, title, number_format in _SHOWN:
        cells = []
        for method in methods:
            dose = 1.0 if method == FULL else drf
            values = [mean_of(scan, dose, method, metric) for scan in acceptance.taken]
            known = [value for value in values if value is not None]
            cells.append(_cell(known, number_format, _POSSIBLE.get(metric)))
        if any(cells):
            yield f"<tr><th>{escape(title)}</th>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"


def _cell(values: list[float], number_format: str, possible: tuple[float, float] | None) -> str:
    if not values:
        return ""
    if number_format == _COUNT:
        return f"{sum(values):.0f}<small>in {counted(len(values), 'scan')}</small>"
    text = _number(float(np.mean(values)), number_format)
    if len(values) < MIN_PATIENTS:
        return f"{text}<small>n = {len(values)}</small>"
    interval = paired(np.zeros(len(values)), values).mean
    if possible is not None:
        interval = interval.limited(*possible)
    low, high = (_number(end, number_format) for end in (interval.low, interval.high))
    return f"{text}<small>{low} to {high}</small>"


def _phantom(acceptance: Acceptance) -> str:
    """Return the table of the phantom; empty if none was measured."""
    if not acceptance.phantom:
        return ""
    head = "".join(f"<th>{mm:g} mm</th>" for mm in DIAMETERS_MM)
    rows = "\n".join(
        f"<tr><th>{share_of(row.drf) if row.drf > 1 else 'full'} · {escape(row.method)}</th>"
        + "".join(
            f"<td>{mean:.2f}<small>max {top:.2f}</small></td>"
            for mean, top in zip(row.recovery_mean, row.recovery_max, strict=True)
        )
        + f"<td>{row.background_cov:.1%}</td><td>{row.earl_passed} of 12</td></tr>"
        for row in acceptance.phantom
    )
    return (
        "<h2>NEMA phantom</h2>"
        '<p class="faint">Recovery of each sphere: mean within the contour at half of the maximum, '
        "and maximum, over the activity that the largest sphere shows at full dose. The bands of "
        f"EARL {EARL_VERSION} are for spheres ten times as hot as the background. An image in "
        "which six spheres were not found has no row.</p>"
        f'<div class="grids"><table><thead><tr><th></th>{head}<th>background COV</th>'
        f"<th>within EARL {EARL_VERSION}</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
