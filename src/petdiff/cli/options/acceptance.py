"""Options of the acceptance test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FullDoseScans = Annotated[
    Path,
    typer.Argument(
        metavar="SCANS", help="Folder with one full-dose scan per patient (folder or file)"
    ),
]
TestedDoses = Annotated[
    str, typer.Option("--dose", metavar="SHARE,…", help="Shares of the full dose to test")
]
Filter = Annotated[
    float | None,
    typer.Option(
        "--filter",
        metavar="FWHM",
        help="Width in mm of the Gaussian filter to beat",
        show_default="the best one for each scan",
    ),
]
Phantom = Annotated[
    Path | None, typer.Option(metavar="IN", help="Scan of the NEMA image quality phantom")
]
