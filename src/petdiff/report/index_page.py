"""Write index.html: an overview of many scans, with a picture of each and a link to its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel

from petdiff import __version__
from petdiff.records import NOTICE, FileName
from petdiff.report.html_page import part, write_html, written_now
from petdiff.terminal import one_line
from petdiff.units import counted

# The pictures are separate files.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:"

Status = Literal["denoised", "refused", "failed", "waiting"]
_NO_RESULT_FIRST: tuple[Status, ...] = ("failed", "refused", "waiting", "denoised")


class IndexEntry(BaseModel, frozen=True):
    """The content of the page for one scan.

    scan           its name
    status         denoised; refused: the input cannot be used; failed: an error while running;
                   waiting: not yet begun
    reason         why it was refused or has failed
    seconds        computing time
    change         of the whole scan's activity, denoised / measured - 1
    warnings       one sentence for each unusual fact
    page, picture  paths relative to the page's folder; None if they do not exist
    """

    scan: FileName
    status: Status
    reason: FileName = ""
    seconds: float = 0.0
    change: float | None = None
    warnings: tuple[FileName, ...] = ()
    page: FileName | None = None
    picture: FileName | None = None


def write_index(path: Path, entries: Sequence[IndexEntry]) -> None:
    """Write the page; scans without a result come first. Pictures are read from their folders."""
    ordered = sorted(entries, key=lambda entry: _NO_RESULT_FIRST.index(entry.status))
    count = Counter(entry.status for entry in entries)
    statuses = ", ".join(
        f"{count[status]} {status}" for status in _NO_RESULT_FIRST if count[status]
    )
    title = escape(f"{counted(len(entries), 'scan')}: {statuses}")
    write_html(
        path,
        "index_page.html",
        title=title,
        style=part("index_page.css"),
        policy=_POLICY,
        name=title,
        notice=escape(NOTICE),
        written=f"{written_now()} · petdiff {__version__}",
        scans="\n".join(map(_scan, ordered)),
    )


def _scan(entry: IndexEntry) -> str:
    name = escape(one_line(entry.scan))
    picture = ""
    if entry.picture is not None:
        picture = f'<img src="{_link(entry.picture)}" alt="{name}" loading="lazy">'
    if entry.page is not None:
        picture = f'<a href="{_link(entry.page)}">{picture or "page"}</a>'
    notes = "".join(f"<li>{escape(one_line(note))}</li>" for note in entry.warnings)
    head = f"<summary>{counted(len(entry.warnings), 'warning')}</summary>"
    listed = f"<details>{head}<ul>{notes}</ul></details>" if notes else ""
    return (
        f'<article class="{entry.status}">{picture}<h2>{name}</h2><p>{escape(_summary(entry))}</p>'
        f"{listed}</article>"
    )


def _summary(entry: IndexEntry) -> str:
    if entry.status != "denoised":
        return f"{entry.status}: {one_line(entry.reason)}" if entry.reason else entry.status
    change = "" if entry.change is None else f" · activity {entry.change:+z.2%}"
    return f"{entry.seconds:.1f} s{change}"


def _link(path: str) -> str:
    return escape(quote(path, safe="/", errors="surrogateescape"))
