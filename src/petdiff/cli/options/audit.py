"""Options of the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Measured = Annotated[
    Path, typer.Argument(metavar="MEASURED", help="The scan that was denoised: as IN of denoise")
]
Denoised = Annotated[
    Path,
    typer.Argument(
        metavar="DENOISED", help="The denoised scan, of any program, on the same voxels"
    ),
]
Alpha = Annotated[
    float,
    typer.Option(
        metavar="P", help="Probability that noise alone causes a finding anywhere in the scan"
    ),
]
