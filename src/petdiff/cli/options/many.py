"""Options about many scans or patients: which, where to, and who works on them."""

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
        "Of many scans: folders, .csv lists, patterns",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="New folder for the results; of many scans, one that may hold some already",
        show_default=False,
    ),
]
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
