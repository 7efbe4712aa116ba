"""`petdiff train`: a model from simulated scans or from the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from petdiff.progress import Progress
from petdiff.training.recipe import read_recipe
from petdiff.training.run import TrainOptions, train


def train_model(
    method: str,
    output: Path,
    *,
    data: Path | None = None,
    init: str | None = None,
    preset: str | None = None,
    config: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    units: Literal["suv", "bqml"] | None = None,
    suv_factor: float | None = None,
    quiet: bool = False,
) -> Path:
    """Train as the command line asks; returns the path of the model file.

    init, preset  model to start from, and size of the network, whatever the file `config` says
    """
    options = TrainOptions(
        method=method,
        output=output,
        data=data,
        recipe=read_recipe(config, preset=preset, init=init),
        resume=resume,
        device=device,
        units=units,
        suv_factor=suv_factor,
    )
    return train(options, progress=Progress(quiet))
