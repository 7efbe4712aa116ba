"""`petdiff train`: a model from the virtual clinic's scans, resumable, ending in a model file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petdiff.errors import UsageError
from petdiff.outputs import whole_file
from petdiff.progress import Progress

if TYPE_CHECKING:
    from petdiff.methods.flow3d import Flow3D
    from petdiff.training.loop import Recipe


def train_model(
    method: str, run: Path, data: str, config: Path | None, *, resume: bool, quiet: bool = False
) -> Path:
    """Train in the folder `run`, which keeps a log and a checkpoint; returns the model's file.

    config  TOML with fields of petdiff.training.loop.Recipe
    resume  go on from the checkpoint in `run`; without it, `run` must be new or empty
    """
    if method != "flow3d":
        raise UsageError(f"train {method}: flow3d is the method that can be trained so far")
    if data != "clinic":
        raise UsageError(f"--data {data}: clinic, the simulated scans, is the data there is so far")
    if not resume and run.is_dir() and any(run.iterdir()):
        raise UsageError(f"{run} is not empty: give --resume to go on there, or name a new folder")
    recipe = _recipe(config)
    from petdiff.training.loop import train

    progress = Progress(quiet)

    def report(step: int, loss: float, seconds: float) -> None:
        progress.say(f"step {step}/{recipe.steps}  loss {loss:.4f}  {seconds:.0f} s")

    trained = train(recipe, run, resume=resume, report=report)
    path = run / "model.safetensors"
    path.unlink(missing_ok=True)
    with whole_file(path) as unfinished:
        save_trained(trained, recipe, unfinished)
    return path


def _recipe(config: Path | None) -> Recipe:
    from petdiff.training.loop import Recipe

    if config is None:
        return Recipe()
    try:
        chosen: dict[str, Any] = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise UsageError(f"--config {config}: {problem}") from problem
    known = {field.name: field.type for field in fields(Recipe)}
    for name, value in chosen.items():
        if name not in known:
            raise UsageError(f"--config {config}: {name} is unknown; there are {', '.join(known)}")
        if type(value).__name__ != known[name] and (type(value), known[name]) != (int, "float"):
            raise UsageError(f"--config {config}: {name} must be {known[name]}, not {value!r}")
    return Recipe(**chosen)


def save_trained(trained: Flow3D, recipe: Recipe, path: Path) -> None:
    """Write a network that `recipe` built as a model file.

    In half precision: its rounding is an eighth of bfloat16's, in which the network runs.
    """
    import torch

    from petdiff.methods.flow3d import PRESETS
    from petdiff.methods.model import Contract, save_model

    network = trained.network
    cells = 2**network.dims
    contract = Contract(
        method="flow3d",
        architecture={
            "in_channels": network.stem.weight.shape[1] // cells,
            "out_channels": network.head.weight.shape[0] // cells,
            **PRESETS[recipe.preset],
        },
        process={"sigma_data": trained.sigma_data},
        training={"data": "clinic", "recipe": asdict(recipe)},
    )
    save_model(path, network, contract, torch.float16)
