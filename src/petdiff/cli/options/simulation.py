"""Options about simulated patients and their scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PATIENT, FROM_FILE, SCAN = "Patient", "Patient from a file", "Scan"

Tracer = Annotated[
    str | None,
    typer.Option(
        help="Tracer: fdg, psma, dotatate or fapi", show_default="fdg", rich_help_panel=PATIENT
    ),
]
Extent = Annotated[
    str | None,
    typer.Option(
        help="Part of the body: torso, head-neck, thorax, abdomen, pelvis or total-body",
        show_default="total-body",
        rich_help_panel=PATIENT,
    ),
]
NoLesions = Annotated[
    bool,
    typer.Option("--no-lesions", help="The same patient without lesions", rich_help_panel=PATIENT),
]
FirstSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        help="Random seed of the first patient: the same seed gives the same patient",
        show_default="0",
        rich_help_panel=PATIENT,
    ),
]
Patients = Annotated[
    int,
    typer.Option(min=1, help="Number of patients; each has the next seed", rich_help_panel=PATIENT),
]
LabelMap = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Label map to take the anatomy from",
        rich_help_panel=FROM_FILE,
    ),
]
LabelMapNames = Annotated[
    Path | None,
    typer.Option(
        "--names",
        metavar="FILE",
        help="Names of its labels, JSON or table (default: the .json beside it, or its header)",
        rich_help_panel=FROM_FILE,
    ),
]
EarlierScan = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="scan.json",
        help="Scan the patient of this file again; options not given keep their values",
        rich_help_panel=FROM_FILE,
    ),
]
Scanner = Annotated[
    str | None,
    typer.Option(
        help="Scanner: quadra, uexplorer, vision600, discovery-mi or mct-flow",
        show_default="quadra",
        rich_help_panel=SCAN,
    ),
]
Doses = Annotated[
    str | None,
    typer.Option(
        "--dose",
        metavar="SHARE,…",
        help="Shares of the full dose to simulate",
        show_default="1/4,1/20,1/100",
        rich_help_panel=SCAN,
    ),
]
ImageVoxelSize = Annotated[
    float | None,
    typer.Option(
        "--voxel-size",
        metavar="MM",
        help="Voxel size of all images in mm (default: the scanner's)",
        rich_help_panel=SCAN,
    ),
]
