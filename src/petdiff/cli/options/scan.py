"""Options about the scan that a command reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

PANEL = "Scan"

Scan = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        help="DICOM folder, file or zip; BIDS folder; .nii, .nii.gz, .nrrd, .mha; published .npz",
    ),
]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="UID",
        help="SeriesInstanceUID to read, if IN holds several series",
        rich_help_panel=PANEL,
    ),
]
SeveralSeries = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        metavar="UID",
        help="SeriesInstanceUID to read, if a scan holds several; can be repeated",
        rich_help_panel=PANEL,
    ),
]
Units = Annotated[
    Literal["suv", "bqml"] | None,
    typer.Option(
        help="Unit of the stored values, if the file does not state it", rich_help_panel=PANEL
    ),
]
SuvFactor = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help="SUV = stored value × F, if the file gives no factor",
        rich_help_panel=PANEL,
    ),
]
Dose = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="The scan's share of the full dose, if known: 1/4, 25% or 0.25",
        rich_help_panel=PANEL,
    ),
]
WantedDose = Annotated[
    str,
    typer.Option(
        "--dose",
        metavar="SHARE",
        help="Share of the scan's dose to simulate: 1/4, 25% or 0.25",
        show_default=False,
    ),
]
Described = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="Scan, model file, run.json, or shipped model's name; without it: this installation",
    ),
]
