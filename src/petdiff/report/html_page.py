"""The common parts of all pages: templates, the head with its security policy, the header."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template

from petdiff import __version__
from petdiff.records import NOTICE

FOLDER = resources.files("petdiff") / "report"
# Nothing is loaded and no script runs; pictures are in the page.
SELF_CONTAINED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_ICON = '<link rel="icon" href="data:,">\n'


def part(name: str) -> str:
    """Return the text of a file of this folder, by its relative path."""
    return FOLDER.joinpath(name).read_text(encoding="utf-8")


def written_now() -> str:
    """Return the present time as shown on pages."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}"


def header(name: str, run: str, about: str, *, petdiff: str = __version__) -> str:
    """Return the header of a page.

    name, run, about  HTML: name of the page, model and settings, grid and date
    petdiff           version that wrote the results
    """
    return _filled("header.html", name=name, run=run, about=about, petdiff=petdiff, notice=NOTICE)


def write_html(
    path: Path,
    template: str,
    *,
    title: str,
    style: str,
    policy: str = SELF_CONTAINED,
    **content: str,
) -> None:
    """Write a page: a template of this folder with head and content.

    title, content  HTML
    policy          Content-Security-Policy: what the page may load
    """
    icon = _ICON if "img-src data:" in policy else ""
    head = _filled("head.html", policy=policy, title=title, icon=icon, style=style)
    page = Template(part(template)).substitute(head=head, **content)
    # Names of files and folders may hold bytes that are not UTF-8.
    path.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")


def _filled(file: str, **content: str) -> str:
    return Template(part(file)).substitute(content).removesuffix("\n")
