"""Options about the regions of a run that are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

REGIONS, INTERVALS = "Regions", "Intervals"

Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Output folder of petdiff denoise, or its run.json")
]
Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Label map (.nii.gz, .nrrd, .mha), DICOM SEG or RTSTRUCT: each region is measured",
        rich_help_panel=REGIONS,
    ),
]
MaskNames = Annotated[
    Path | None,
    typer.Option(
        "--names",
        metavar="FILE",
        help="Names of its labels (default: the .json beside it)",
        rich_help_panel=REGIONS,
    ),
]
Spheres = Annotated[
    list[str] | None,
    typer.Option(
        "--sphere",
        metavar="X,Y,Z,R",
        help="Sphere: centre and radius in mm, RAS+ (right, anterior, superior); can be repeated",
        rich_help_panel=REGIONS,
    ),
]
Foci = Annotated[
    str | None,
    typer.Option(
        "--lesions",
        metavar="auto|SUV",
        help="Foci of the denoised scan: SUV 4 and above (auto), or another threshold",
        rich_help_panel=REGIONS,
    ),
]
Kind = Annotated[
    Literal["lesion", "organ", "sphere"] | None,
    typer.Option(
        help="Kind of all regions, which selects the intervals (default: from their names)",
        rich_help_panel=INTERVALS,
    ),
]
ToGrid = Annotated[
    bool,
    typer.Option(
        "--resample",
        help="Bring the mask to the scan's grid (nearest voxel)",
        rich_help_panel=REGIONS,
    ),
]
MeasuredScan = Annotated[
    Path | None,
    typer.Option("--scan", metavar="IN", help="Measured scan, if it is not where run.json says"),
]
FrameNumber = Annotated[
    int | None,
    typer.Option(
        "--frame",
        min=1,
        metavar="N",
        help="Frame to measure, from 1 on, of a scan of several frames",
    ),
]
Level = Annotated[
    float | None,
    typer.Option(
        "--interval",
        metavar="LEVEL",
        help="Level of the intervals (default: 0.9, where the model has them)",
        rich_help_panel=INTERVALS,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="New folder for measures.json, measures.csv and a page"),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--sr",
        metavar="FILE",
        help="New DICOM structured report (TID 1500), for a DICOM run in SUV",
    ),
]
