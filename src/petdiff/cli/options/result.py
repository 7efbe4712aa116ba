"""Options about what a command writes and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from petdiff import terminal

Out = Annotated[
    Path, typer.Option("--output", "-o", help="New folder for the results", show_default=False)
]
OutDefault = Annotated[Path, typer.Option("--output", "-o", help="New folder for the results")]
ModelOut = Annotated[
    Path, typer.Option("--output", "-o", help="New .safetensors file", show_default=False)
]
Format = Annotated[
    Literal["dicom", "nifti", "nrrd", "mha", "bids"] | None,
    typer.Option("--to", help="Format of the result (default: the format of IN)"),
]
VolumeFormat = Annotated[
    Literal["dicom", "nifti", "nrrd", "mha"] | None,
    typer.Option("--to", help="Format of the result (default: the format of IN)"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text")]


def _set_quiet(quiet: bool) -> bool:
    if quiet:
        terminal.be_quiet()
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", callback=_set_quiet, help="Print nothing but results and errors"),
]
