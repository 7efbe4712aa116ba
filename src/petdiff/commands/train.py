"""`petdiff train`: train a model on simulated scans or on the user's own."""

from __future__ import annotations

from pathlib import Path

from petdiff.io import Units
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
    units: Units | None = None,
    suv_factor: float | None = None,
    quiet: bool = False,
) -> Path:
    """Train with the options of the command line; returns the path of the model file.

    init    model to start from; overrides the file `config`
    preset  size of the network; overrides the file `config`
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
