"""Options about training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from petdiff.cli.options.model import PANEL

Method = Annotated[
    str,
    typer.Argument(
        metavar="METHOD", help="Method: flow3d, ddpm3d, ddpm2d, unet3d, gan3d or logunet"
    ),
]
RunFolder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder of the run: log, checkpoints, model", show_default=False
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of your own pairs, or of full-dose scans alone",
        show_default="simulated scans",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Size of the network: tiny, default or paper",
        show_default="that of --config, else default",
        rich_help_panel=PANEL,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Model to start from: a shipped one or a file",
        show_default="random weights",
        rich_help_panel=PANEL,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Settings that differ from the defaults"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the newest checkpoint, if there is one")
]
TrainingDevice = Annotated[
    str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or cuda:N")
]
