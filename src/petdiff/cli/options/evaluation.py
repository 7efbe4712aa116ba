"""Options about scans to compare, regions to measure and cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REGIONS = "Regions"

Cohort = Annotated[
    Path | None,
    typer.Argument(metavar="[COHORT.toml]", help="File that names the methods and the scans"),
]
Reference = Annotated[
    Path | None, typer.Option(help="Scan to compare with: full dose, or the truth")
]
Test = Annotated[Path | None, typer.Option(help="Scan to measure, such as a denoised one")]
Low = Annotated[
    Path | None, typer.Option(help="Low-dose scan that was denoised, to measure as well")
]
Labels = Annotated[
    Path | None,
    typer.Option(help="Label volume: each organ is measured", rich_help_panel=REGIONS),
]
LabelNames = Annotated[
    Path | None,
    typer.Option(
        "--names",
        help="Names of the labels (default: the .json beside the volume)",
        rich_help_panel=REGIONS,
    ),
]
Lesions = Annotated[
    Path | None,
    typer.Option(
        help="lesions.json, or a volume with a label for each lesion", rich_help_panel=REGIONS
    ),
]
Resample = Annotated[
    bool, typer.Option("--resample", help="Bring scans and labels to the reference's grid")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes of a cohort", show_default="one per core")
]
