"""report.html: a run as one file that opens in a browser, without a network.

Measured, denoised, difference and spread side by side in a viewer with one crosshair, what is off
about the run, and its record as a table. NiiVue draws the slices; it is fetched when petdiff is
installed or built (`make viewer`), and a page made without it shows the projections only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.inference.run_record import RunRecord, SUVFacts
from petdiff.records import PeakMemory
from petdiff.report.audit_section import audit_section
from petdiff.report.html_page import FOLDER, header, part, write_html
from petdiff.report.notices import millimetres, notices
from petdiff.report.packed import Packed, pack
from petdiff.report.preview import SUV_WINDOWS, coronal_projection, display_window
from petdiff.report.trained_on import trained_on
from petdiff.terminal import one_line
from petdiff.volume.activity import ActivityChange

LARGEST_PAGE_BYTES = 25_000_000
_SCRIPTS = ("niivue", "mip", "viewer")
_PAGE_WITHOUT_VOLUMES_BYTES = 3_500_000
WITHOUT_VIEWER = (
    "report.html holds pictures only, as this installation lacks the 3-D viewer, NiiVue: run "
    "`make viewer` in the source checkout (it needs npm), or install petdiff from a wheel."
)


def has_viewer() -> bool:
    """Say whether NiiVue lies in this installation."""
    return FOLDER.joinpath("viewer/niivue.js").is_file()


def write_page(
    path: Path,
    measured: PETImage,
    denoised: PETImage,
    spread: NDArray[np.float32] | None = None,
    *,
    name: str,
    title: str,
    record: RunRecord,
    picture: Path,
) -> None:
    """Write a run as one web page.

    measured, denoised  on one grid
    spread              standard deviation in their unit [i, j, k] where several samples were drawn
    name, title         the scan's file name; model, steps and seed
    record              of which nothing that could name a patient is shown
    picture             the PNG of projections, shown where there is no viewer and in print
    """
    packed = None
    if has_viewer():
        volumes = {"measured": measured.values, "denoised": denoised.values}
        if spread is not None:
            volumes["spread"] = spread
        packed = pack(volumes, denoised, LARGEST_PAGE_BYTES - _PAGE_WITHOUT_VOLUMES_BYTES)
    scripts = (
        [part("viewer/niivue.js"), part("viewer/mip.js"), part("viewer/viewer.js")]
        if packed
        else []
    )
    warnings = notices(record) + ([] if packed else [WITHOUT_VIEWER])
    shown = escape(one_line(name))
    grid = escape(_grid(record.input.shape, record.input.spacing_mm))
    write_html(
        path,
        "viewer/page.html",
        title=shown,
        style=part("viewer/page.css"),
        policy=_policy(scripts),
        header=header(
            shown,
            escape(one_line(title)),
            f"{grid} · {record.finished:%Y-%m-%d %H:%M %Z}",
            petdiff=escape(record.petdiff),
        ),
        notices="\n".join(f"<li>{escape(warning)}</li>" for warning in warnings),
        viewer=_viewer(denoised) if packed else "",
        coarseness=escape(_coarseness(packed, denoised.unit_name)) if packed else "",
        picture=base64.b64encode(picture.read_bytes() if picture.is_file() else b"").decode(),
        record=_table(record_rows(record)),
        activity=_activity_table(record.activity),
        audit=audit_section(record.audit),
        data=_data(packed, measured, denoised, spread) if packed else "",
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
        licences=_licences() if packed else "",
    )


def record_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Return the record for a person: what ran, on what, how SUV was got and how long it took.

    Left out: the folder the scan lay in, series UID and description, dates, weight and dose.
    """
    scan, run = record.input, record.denoising
    model, suv = run.model, scan.suv
    rows = [
        ("model", model.title or Path(model.name).name),
        ("weights, SHA-256", model.sha256),
        ("method and licence", f"{model.method}; {model.licence}"),
        ("trained on", trained_on(model.training).sentence),
        ("asked", f"{run.steps} step(s), {run.samples} sample(s), seed {run.seed}"),
        ("device", f"{run.device}; {run.precision}"),
        ("alarm", "" if record.alarm is None else record.alarm.sentence),
        ("audit", "" if record.audit is None else record.audit.verdict),
        ("worked on", _grid(run.working_shape, run.working_voxel_mm)),
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
    return f"{suv.rule}: {suv.reason}" if suv.rule else suv.reason


def _viewer(image: PETImage) -> str:
    return Template(part("viewer/viewer.html")).substitute(unit=escape(image.unit_name))


def _grid(shape: Sequence[int], spacing_mm: Sequence[float]) -> str:
    return f"{' × '.join(map(str, shape))} voxels of {millimetres(spacing_mm)}"


def _factor(factor: float | Sequence[float] | None) -> str:
    if factor is None:
        return ""
    low, high = float(np.min(factor)), float(np.max(factor))
    return f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g}, by slice"


def _memory(peak: PeakMemory) -> str:
    known = {"main": peak.main, "cuda": peak.cuda}
    return ", ".join(f"{where} {held / 2**30:.1f} GiB" for where, held in known.items() if held)


def _coarseness(packed: Packed, unit: str) -> str:
    step = f"steps of {packed.step:g} {unit}"
    kept = f"Values are the files' voxels rounded to {step}"
    if packed.block > 1:
        n = packed.block
        kept = (
            f"To keep this page small its voxels are means of {n} × {n} × {n} of the files', so "
            f"that a value is not that of one voxel; {step}"
        )
    return f"{kept}. Air far from the body is left out."


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
    return "" if change is None else f"{change:+.1%}"


def _data(
    packed: Packed,
    measured: PETImage,
    denoised: PETImage,
    spread: NDArray[np.float32] | None,
) -> str:
    """Return the volumes and how to read them, as blocks that no browser runs."""
    change = denoised.values - measured.values
    shown = display_window(coronal_projection(denoised), denoised)
    # A page opens with one of its presets, or with `auto`: then that is what it opens with.
    auto = _top(denoised.values) if shown in SUV_WINDOWS and denoised.in_suv else shown
    windows = {"shown": shown, "suv": auto, "change": _top(np.abs(change))}
    if spread is not None:
        windows["spread"] = _top(spread)
    of_the_unit = {"unit": denoised.unit_name, "in_suv": denoised.in_suv}
    geometry = json.dumps(packed.geometry() | of_the_unit | {"auto": windows}).replace(
        "<", "\\u003c"
    )
    blocks = [f'<script type="application/json" id="geometry">{geometry}</script>']
    blocks += [
        f'<script type="text/plain" class="volume" data-name="{name}">{text}</script>'
        for name, text in packed.volumes.items()
    ]
    return "\n".join(blocks)


def _top(volume: NDArray[np.float32]) -> float:
    """Return where a window should end: the 99.5th percentile of the columns' maxima."""
    top = float(np.quantile(volume.max(axis=1), 0.995))
    return float(f"{top:.2g}") if top > 0 else 1.0


def _policy(scripts: Iterable[str]) -> str:
    """Return a content security policy: these scripts and no other, and no network at all."""
    digests = (hashlib.sha256(script.encode("utf-8")).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests)
    return (
        f"default-src 'none'; script-src {allowed or chr(39) + 'none' + chr(39)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src data:"
    )


def _licences() -> str:
    text = escape(part("viewer/niivue.licences.txt"))
    return f"<details><summary>Licences of the viewer</summary><pre>{text}</pre></details>"
