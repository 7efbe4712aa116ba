"""Options about sharing out the work on many scans or patients."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL = "Many"

Shard = Annotated[
    str | None,
    typer.Option(
        metavar="i/n",
        help="Of many scans, only every n-th, from the i-th on: one part per job of an array",
        rich_help_panel=PANEL,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="local|ADDRESS",
        help="Share the work over processes: local, local:N, or a Dask scheduler's address",
        rich_help_panel=PANEL,
    ),
]
