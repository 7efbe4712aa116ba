"""Options about the model, its sampling, and the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Model"

Model = Annotated[
    str, typer.Option(help="Name of a shipped model, or a .safetensors file", rich_help_panel=PANEL)
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps per sample: more give more texture and a lower PSNR (default: the model's)",
        rich_help_panel=PANEL,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many samples to draw; with 2 or more the uncertainty is written (default: the "
        "model's, 1 for flow3d)",
        rich_help_panel=PANEL,
    ),
]
Interval = Annotated[
    float | None,
    typer.Option(
        metavar="LEVEL",
        help="Write the interval of each voxel at this level, such as 0.9: lower and upper",
        rich_help_panel=PANEL,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed: the same seed gives the same result")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:N or mps")]
VoxelSize = Annotated[
    str | None,
    typer.Option(metavar="X,Y,Z", help="Voxel size in mm to compute with (default: the model's)"),
]
PublishedCheckpoint = Annotated[
    Path, typer.Argument(metavar="FILE.pt", help="Checkpoint of the published code")
]
