"""The audit on a page: its verdict, and a table whose rows move the crosshair to their places."""

from __future__ import annotations

from html import escape

from petdiff.uncertainty.audit.record import AuditRecord, Finding

_HEADS = ("finding", "place", "size", "measured", "denoised", "z", "p")


def audit_section(audit: AuditRecord | None) -> str:
    """Return the audit as a part of a page; empty where there was none."""
    if audit is None:
        return ""
    heading = f"<h2>Audit against the measured scan</h2>\n<p>{escape(_sentence(audit.verdict))}</p>"
    if not audit.findings:
        return f"<div>\n{heading}\n</div>"
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    rows = "\n".join(_row(one) for one in audit.findings)
    more = sum(audit.found.values()) - len(audit.findings)
    rest = f"\n<p class=faint>And {more} weaker ones.</p>" if more > 0 else ""
    return (
        f"<div>\n{heading}\n<table class=audit>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table>{rest}\n</div>"
    )


def _sentence(verdict: str) -> str:
    return f"The result {verdict}." if not verdict.startswith("nothing") else f"There is {verdict}."


def _row(one: Finding) -> str:
    place = ", ".join(f"{mm:.0f}" for mm in one.position_mm)
    voxel = ",".join(map(str, one.voxel))
    cells = (
        f'<button type=button class=to-place data-file-voxel="{voxel}">{place} mm</button>',
        f"{one.diameter_mm:.0f} mm",
        f"{one.measured:.3g}",
        f"{one.denoised:.3g}",
        f"{one.z:+.1f}".replace("-", "−"),
        f"{one.p:.1g}",
    )
    return f"<tr><th scope=row>{one.kind}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
