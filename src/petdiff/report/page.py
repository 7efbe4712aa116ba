"""Write report.html: a run as one web page that needs no network.

The page shows the measured and the denoised scan, their difference and the uncertainty in a viewer,
notices about the run, and its record as a table. Without the viewer it shows projections only.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import with_scan_options
from petdiff.image import PETImage, grid_text
from petdiff.inference.run_record import RunRecord, SUVFacts
from petdiff.records import PeakMemory
from petdiff.report.audit_section import audit_section
from petdiff.report.html_page import header, part, write_html
from petdiff.report.notices import notices
from petdiff.report.trained_on import trained_on
from petdiff.report.volume_viewer import WITHOUT_VIEWER, viewer_part
from petdiff.terminal import one_line
from petdiff.units import counted, with_minus
from petdiff.volume.activity import ActivityChange


def write_page(
    path: Path,
    measured: PETImage,
    denoised: PETImage,
    uncertainty: NDArray[np.float32] | None = None,
    *,
    name: str,
    title: str,
    record: RunRecord,
    picture: Path,
) -> None:
    """Write a run as one web page.

    measured, denoised  on one grid
    uncertainty         standard deviation in their unit [i, j, k], if several samples were drawn
    name, title         the scan's file name; model, steps and seed
    record              of the run; patient data are not shown
    picture             PNG of projections, shown without the viewer and in print
    """
    viewer = viewer_part(measured, denoised, uncertainty)
    warnings = notices(record) + ([] if viewer.exists else [WITHOUT_VIEWER])
    shown = escape(one_line(name))
    grid = escape(grid_text(record.input.shape, record.input.spacing_mm))
    write_html(
        path,
        "viewer/page.html",
        title=shown,
        style=part("viewer/page.css"),
        policy=viewer.policy,
        header=header(
            shown,
            escape(one_line(title)),
            f"{grid} · {record.finished:%Y-%m-%d %H:%M %Z}",
            petdiff=escape(record.petdiff),
        ),
        notices="\n".join(f"<li>{escape(warning)}</li>" for warning in warnings),
        picture=base64.b64encode(picture.read_bytes() if picture.is_file() else b"").decode(),
        record=_table(record_rows(record)),
        activity=_activity_table(record.activity),
        audit=audit_section(record.audit, viewer=viewer.exists),
        **viewer.content,
    )


def record_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Return the record as rows of a table: model, settings, scan, SUV rule, times.

    Left out: the folder of the scan, series UID and description, dates, weight and dose.
    """
    scan, run = record.input, record.denoising
    model, suv = run.model, scan.suv
    calls = f"{counted(run.steps, 'step')}, {counted(run.samples, 'sample')}"
    rows = [
        ("model", model.title or Path(model.name).name),
        ("weights, SHA-256", model.sha256),
        ("method and licence", f"{model.method}; {model.licence}"),
        ("trained on", trained_on(model.training).sentence),
        ("settings", f"{calls}, seed {run.seed}"),
        ("interval", _interval(record.options.interval)),
        ("device", f"{run.device}; {run.precision}"),
        ("alarm", "" if record.alarm is None else record.alarm.sentence),
        ("audit", "" if record.audit is None else record.audit.verdict),
        ("working grid", grid_text(run.working_shape, run.working_voxel_mm)),
        ("stored unit", scan.unit),
        ("SUV rule" if suv.rule else "no SUV", _suv_rule(suv)),
        ("SUV per stored value", _factor(suv.factor)),
        ("manufacturer", scan.manufacturer),
        ("scanner", scan.scanner),
        ("tracer", scan.tracer),
        ("time", ", ".join(f"{stage} {time:.1f} s" for stage, time in record.seconds.items())),
        ("peak memory", _memory(record.peak_memory_bytes)),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
    ]
    return [(key, value) for key, value in rows if value]


def _suv_rule(suv: SUVFacts) -> str:
    return f"{suv.rule}: {suv.reason}" if suv.rule else with_scan_options(suv.reason)


def _interval(level: float | None) -> str:
    return "" if level is None else f"of each voxel at {100 * level:g} %: lower and upper bound"


def _factor(factor: float | Sequence[float] | None) -> str:
    if factor is None:
        return ""
    low, high = float(np.min(factor)), float(np.max(factor))
    return f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g}, by slice"


def _memory(peak: PeakMemory) -> str:
    known = {"main": peak.main, "cuda": peak.cuda}
    return ", ".join(f"{where} {size / 2**30:.1f} GiB" for where, size in known.items() if size)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f"<tr><th scope=row>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return "\n".join(cells)


def _activity_table(activity: ActivityChange) -> str:
    rows = [("whole scan", "", "", "", _percent(activity.relative_change))]
    for band in activity.by_suv:
        low, high = band.suv_from, band.suv_to
        where = f"below {high:g}" if low is None else f"{low:g} and more"
        if low is not None and high is not None:
            where = f"{low:g} to {high:g}"
        means = (f"{band.mean_suv_before:.3g}", f"{band.mean_suv_after:.3g}")
        change = _percent(band.relative_change)
        if band.standard_error is not None:
            change += f" ± {band.standard_error:.1%}"
        rows.append((f"SUV {where}", f"{band.volume_ml:,.0f}", *means, change))
    return "\n".join(
        f"<tr><th scope=row>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )


def _percent(change: float | None) -> str:
    return "" if change is None else with_minus(f"{change:+z.1%}")
