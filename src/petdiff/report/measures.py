"""Write measures.html: the figures of regions with their intervals, and their positions."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from petdiff.image import PETImage
from petdiff.measurement.figures import title_of
from petdiff.measurement.record import MeasuredFigure, MeasuredRegion, Measurement
from petdiff.measurement.tables import number, reasons
from petdiff.report.html_page import header, part, write_html, written_now
from petdiff.report.preview import coronal_projection, display_window
from petdiff.report.projections import MARK, Ring, grey_projection
from petdiff.terminal import one_line
from petdiff.units import significant

_BAR, _HALF, _EDGE = 300, 9, 8  # length, half height and margin of a bar, in its own units
_INTERVAL, _MEASURED, _DENOISED = "#9db8d4", "#7a8794", MARK
_EXPLAINED = (
    "Rings in the coronal projections have the diameter of spheres of the regions' volumes. In the "
    "table: grey ring: measured. Blue dot: denoised. Bar: the interval in which the figure of the "
    "full-dose scan is expected. Each row has its own scale."
)


def write_measures_page(
    path: Path,
    measurement: Measurement,
    measured: PETImage,
    denoised: PETImage,
    *,
    name: str,
    title: str,
) -> None:
    """Write a measurement as one page without network and scripts.

    name, title  of the run, without patient data
    """
    level = "" if measurement.level is None else f"{100 * measurement.level:g} % interval"
    shown = escape(one_line(name))
    top = display_window(coronal_projection(denoised), denoised)
    rings = [_ring(region) for region in measurement.regions]
    write_html(
        path,
        "measures.html",
        title=shown,
        style=part("viewer/page.css") + part("measures.css"),
        header=header(shown, escape(one_line(title)), written_now()),
        notices="\n".join(
            f"<li>{escape(one)}</li>" for one in (*reasons(measurement), *measurement.notes)
        ),
        places="\n".join(
            grey_projection(caption, scan, top, rings)
            for caption, scan in (("measured", measured), ("denoised", denoised))
        ),
        explained=_EXPLAINED,
        level=escape(level),
        rows="\n".join(
            line
            for n, one in enumerate(measurement.regions, 1)
            for line in _region(n, one, measurement.unit)
        ),
    )


def _region(n: int, one: MeasuredRegion, unit: str) -> Iterator[str]:
    x, y, z = one.centre_mm
    details = (
        f"{one.kind}, {significant(one.volume_ml, 3)} ml at {x:z.0f}, {y:z.0f}, {z:z.0f} mm (RAS+)"
    )
    yield (
        f'<tr class="region"><th colspan=6>{n} · {escape(one_line(one.name))} '
        f'<span class="faint">{escape(details)}</span></th></tr>'
    )
    for figure in one.figures:
        if figure.denoised is None:
            continue
        interval = ""
        if figure.lower is not None:
            interval = f"{number(figure.lower)} … {number(figure.upper)}"
        cells = (figure.unit, number(figure.measured), number(figure.denoised), interval)
        yield (
            f'<tr class="figure"><th scope=row>{escape(title_of(figure.figure, unit))}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + f'<td class="bar">{_bar(figure)}</td></tr>'
        )


def _bar(figure: MeasuredFigure) -> str:
    """Return the interval as a bar with both figures as dots; "" without an interval."""
    if figure.lower is None:
        return ""
    values = [figure.measured, figure.denoised, figure.lower, figure.upper]
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _EDGE + (value - low) / span * (_BAR - 2 * _EDGE)

    parts = []
    if figure.lower is not None and figure.upper is not None:
        start, end = x(figure.lower), x(figure.upper)
        parts.append(
            f'<rect x="{start:.1f}" y="{_HALF - 3}" width="{end - start:.1f}" height="6" rx="3" '
            f'fill="{_INTERVAL}"/>'
        )
    if figure.measured is not None:
        parts.append(
            f'<circle cx="{x(figure.measured):.1f}" cy="{_HALF}" r="5" fill="none" '
            f'stroke="{_MEASURED}" stroke-width="2"/>'
        )
    if figure.denoised is not None:
        parts.append(
            f'<circle cx="{x(figure.denoised):.1f}" cy="{_HALF}" r="3.4" fill="{_DENOISED}"/>'
        )
    return (
        f'<svg viewBox="0 0 {_BAR} {2 * _HALF}" height="{2 * _HALF}" role="img" '
        f'aria-label="interval and figures">{"".join(parts)}</svg>'
    )


def _ring(one: MeasuredRegion) -> Ring:
    """Return a ring around a region, with the diameter of a sphere of its volume."""
    radius_mm = (3 * one.volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    return Ring(one.name, one.centre_mm, float(radius_mm))
