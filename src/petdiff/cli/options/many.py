"""Options about many scans or patients: input, output and the sharing of the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Many"

Scans = Annotated[
    list[Path],
    typer.Argument(
        metavar="IN...",
        help="DICOM folder, file or zip; BIDS folder; .nii, .nii.gz, .nrrd, .mha; published .npz. "
        "Many scans: folders, .csv lists, patterns",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="New folder for the results; with many scans, it may hold results already",
        show_default=False,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="i/n",
        help="With many scans, only every n-th from the i-th on: one part per job of an array",
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
