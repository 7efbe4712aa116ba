"""Options of `petdiff node`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NodeConfig = Annotated[
    Path,
    typer.Option("--config", metavar="FILE.toml", help="The node's settings", show_default=False),
]
