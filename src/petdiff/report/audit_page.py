"""Write audit.html: an audit with slices through each finding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path

import numpy as np

from petdiff.image import PETImage
from petdiff.report.audit_section import findings_table, size_and_place, verdict_sentence
from petdiff.report.html_page import header, part, write_html, written_now
from petdiff.report.notices import without_suv
from petdiff.report.png import grey_png, signed_png
from petdiff.report.preview import coronal_projection, display_window, round_up
from petdiff.report.projections import Ring, grey_projection, signed_projection
from petdiff.report.slices import PLANES, slice_through
from petdiff.report.volume_viewer import WITHOUT_VIEWER, viewer_part
from petdiff.terminal import one_line
from petdiff.uncertainty.audit.compare import Audit
from petdiff.uncertainty.audit.record import AuditRecord
from petdiff.units import with_minus

_COLOUR_RANGE = 2.0  # end of the colour scale, over the deviation of the weakest finding
_GREY_RANGE = 1.5  # minimum end of the grey scale, over the larger mean of the finding


def write_audit_page(
    path: Path, measured: PETImage, denoised: PETImage, audit: Audit, *, names: tuple[str, str]
) -> None:
    """Write an audit as one page that needs no network.

    names  file names of the measured and of the denoised scan
    """
    record = audit.record
    measured_name, denoised_name = (escape(one_line(name)) for name in names)
    viewer = viewer_part(measured, denoised)
    has_contradiction = record.found.get("fabrication") or record.found.get("omission")
    write_html(
        path,
        "audit.html",
        title=f"Audit of {denoised_name}",
        style=part("viewer/page.css") + part("measures.css") + part("audit.css"),
        policy=viewer.policy,
        header=header(f"Audit of {denoised_name}", f"against {measured_name}", written_now()),
        verdict=escape(verdict_sentence(record, "The denoised scan")),
        judged="grave" if has_contradiction else "",
        notices="\n".join(
            f"<li>{escape(one)}</li>" for one in _notices(measured, viewer=viewer.exists)
        ),
        explained=escape(_explained(record)),
        places="\n".join(_projections(measured, denoised, audit)),
        table=findings_table(record, slices=True, viewer=viewer.exists),
        foci="\n".join(_foci(measured, denoised, audit)),
        **viewer.content,
    )


def _notices(measured: PETImage, *, viewer: bool) -> Iterator[str]:
    if not measured.in_suv:
        yield without_suv(measured.unit, measured.unit_name, measured.no_suv_reason)
    if not viewer:
        yield WITHOUT_VIEWER


def _explained(record: AuditRecord) -> str:
    """Return a text that explains the comparison and the pictures."""
    if not record.scales:
        return ""
    balls = [f"{one.diameter_mm:.0f}" for one in record.scales]
    return (
        f"Compared through balls of {', '.join(balls)} mm. A finding differs by at least "
        f"{record.z_needed:.1f} standard deviations of the measured scan's noise, which noise "
        f"alone reaches anywhere in a scan with a probability of {record.alpha:g}. The residual is "
        "this difference: red where the denoised scan shows more than the measured one, blue where "
        "it shows less. Rings in the coronal projections mark the findings. A finding does not say "
        "which of the two scans is right. The loss of a focus that the noise hides cannot be found."
    )


def _limit(record: AuditRecord) -> float:
    return round_up(_COLOUR_RANGE * record.z_needed)


def _projections(measured: PETImage, denoised: PETImage, audit: Audit) -> Iterator[str]:
    """Yield the projections of both scans and of the residual, with a ring around each finding."""
    if not audit.deviations:
        return
    rings = [
        Ring(size_and_place(one), one.position_mm, one.diameter_mm / 2)
        for one in audit.record.findings
    ]
    top = display_window(coronal_projection(denoised), denoised)
    yield grey_projection("measured", measured, top, rings)
    yield grey_projection("denoised", denoised, top, rings)
    first, *others = audit.deviations.values()
    farthest = first.values
    for one in others:
        farthest = np.where(np.abs(one.values) > np.abs(farthest), one.values, farthest)
    residual = first.with_values(-farthest)  # z is positive for more activity in the measured scan
    yield signed_projection("residual", residual, _limit(audit.record), "SD", rings)


def _foci(measured: PETImage, denoised: PETImage, audit: Audit) -> Iterator[str]:
    """Yield slices of both scans and of the residual through each finding."""
    window = display_window(coronal_projection(denoised), denoised)
    for n, one in enumerate(audit.record.findings, 1):
        top = max(window, round_up(_GREY_RANGE * max(one.measured, one.denoised)))
        grey = partial(grey_png, top=top)
        residual = audit.deviations[one.diameter_mm]
        columns = (
            (f"measured {one.measured:.3g}", measured, grey),
            (f"denoised {one.denoised:.3g}", denoised, grey),
            (f"residual, z {with_minus(f'{one.z:+.1f}')}", residual.with_values(-residual.values),
             partial(signed_png, limit=_limit(audit.record))),
        )  # fmt: skip
        figures = "".join(
            f"<figure><figcaption>{escape(caption)}</figcaption>"
            + "".join(
                slice_through(
                    scan, one.position_mm, plane, one.diameter_mm / 2, png,
                    f"{caption}, {plane.name}",
                )
                for plane in PLANES
            )
            + "</figure>"
            for caption, scan, png in columns
        )  # fmt: skip
        title = escape(f"{n} · {size_and_place(one)}")
        shown = f"axial and coronal slice, 0 to {top:g} {measured.unit_name}"
        yield (
            f'<section class="focus" id="focus-{n}"><h3>{title}</h3>'
            f'<p class="faint">{escape(shown)}</p><div class="slices">{figures}</div></section>'
        )
