"""The audit as a part of a page: its verdict, and a table of findings."""

from __future__ import annotations

from html import escape

from petdiff.uncertainty.audit.record import AuditRecord, Finding
from petdiff.units import with_minus


def audit_section(audit: AuditRecord | None, *, viewer: bool) -> str:
    """Return the audit as a part of a run's page; empty without an audit.

    viewer  whether the page has a viewer, whose crosshair moves to a position on a click
    """
    if audit is None:
        return ""
    sentence = escape(verdict_sentence(audit, "The result"))
    table = findings_table(audit, viewer=viewer)
    return f"<div>\n<h2>Audit against the measured scan</h2>\n<p>{sentence}</p>\n{table}\n</div>"


def verdict_sentence(audit: AuditRecord, of: str) -> str:
    """Return the verdict as a sentence about `of`, such as "The result"."""
    if audit.empty:
        return f"There is {audit.verdict}."
    return f"{of} {audit.verdict}."


def findings_table(audit: AuditRecord, *, viewer: bool, slices: bool = False) -> str:
    """Return a table of the findings; empty without any.

    viewer  whether a click on a position moves the crosshair of the page's viewer
    slices  whether the page has slices of each finding, linked from its number
    """
    if not audit.findings:
        return ""
    unit = f" ({escape(audit.unit)})"
    heads = (
        "",
        "finding",
        "position, RAS+",
        "size",
        f"measured{unit}",
        f"denoised{unit}",
        "z",
        "p",
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    rows = "\n".join(
        _row(n, one, viewer=viewer, slices=slices) for n, one in enumerate(audit.findings, 1)
    )
    more = sum(audit.found.values()) - len(audit.findings)
    rest = f"\n<p class=faint>And {more} weaker ones.</p>" if more > 0 else ""
    return (
        f"<table class=audit>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
        f"{rest}"
    )


def size_and_place(one: Finding) -> str:
    """Return the kind, size and position of a finding."""
    return f"{one.kind}, {one.diameter_mm:.0f} mm at {_place(one)} mm"


def _place(one: Finding) -> str:
    return ", ".join(with_minus(f"{mm:z.0f}") for mm in one.position_mm)


def _row(n: int, one: Finding, *, viewer: bool, slices: bool) -> str:
    place, voxel = f"{_place(one)} mm", ",".join(map(str, one.voxel))
    if viewer:
        place = f'<button type=button class=to-place data-file-voxel="{voxel}">{place}</button>'
    number = f'<a href="#focus-{n}">{n}</a>' if slices else str(n)
    cells = (
        place,
        f"{one.diameter_mm:.0f} mm",
        f"{one.measured:.3g}",
        f"{one.denoised:.3g}",
        with_minus(f"{one.z:+.1f}"),
        f"{one.p:.1g}",
    )
    values = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><td>{number}</td><th scope=row>{one.kind}</th>{values}</tr>"
