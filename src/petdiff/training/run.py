"""Train a model on simulated scans or on the user's own, and write a model file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel

from petdiff.cgroup import usable_cores
from petdiff.errors import UsageError, nearest
from petdiff.io import Units
from petdiff.methods.base import Method
from petdiff.methods.model import load_model, save_model
from petdiff.methods.registry import METHODS
from petdiff.networks.unet import UNet, flattened
from petdiff.progress import Progress
from petdiff.training.card import Origin, StartingModel, model_card
from petdiff.training.data import TrainingData, find_data
from petdiff.training.log import require_tensorboard
from petdiff.training.loop import Hooks, State
from petdiff.training.loop import train as train_method
from petdiff.training.messages import TrainingMessages, describe_end
from petdiff.training.prepare import Sources, no_volumes, open_supply, prepare_sources
from petdiff.training.process_group import ProcessGroup, is_first_process, join_group, leave_group
from petdiff.training.recipe import Recipe
from petdiff.training.run_folder import RunFolder
from petdiff.training.validation import Validation


class TrainOptions(BaseModel, frozen=True, extra="forbid"):
    """The options of a training run.

    method  flow3d, ddpm3d, ddpm2d, unet3d, gan3d or logunet
    output  folder of the run: log, checkpoints, pictures and finally model.safetensors
    data    folder of the user's own pairs, or full-dose scans; None: simulated scans
    recipe  all other settings
    resume  continue from the newest checkpoint in `output`, if there is one
    device  auto, cpu, cuda or cuda:N
    units, suv_factor  of all scans in `data`, as in petdiff.read
    """

    method: str = "flow3d"
    output: Path
    data: Path | None = None
    recipe: Recipe = Recipe()
    resume: bool = False
    device: str = "auto"
    units: Units | None = None
    suv_factor: float | None = None


def train(options: TrainOptions, *, progress: Progress | None = None) -> Path:
    """Train a model; returns the path of the model file, which `petdiff.load_model` reads.

    progress  prints messages; None: nothing is printed

    Under torchrun every process calls this with the same options; only the first writes. A script
    must call it below `if __name__ == "__main__":`, because worker processes import the script.

    Raises UsageError for impossible options, InputRefused for scans that cannot be used and
    PetdiffError if training fails. A refused new run leaves no files.
    """
    folder = RunFolder(options.output)
    if not options.resume and is_first_process():
        folder.require_free()
    method, base = _prepare(options)
    group = join_group(options.device)
    try:
        messages = progress if progress is not None and group.is_first else Progress(quiet=True)
        data = find_data(
            options.data, options.recipe, messages.print,
            units=options.units, suv_factor=options.suv_factor,
        )  # fmt: skip
        return _Run(options, folder, method, base, data, group, messages).finish()
    finally:
        leave_group()


def _prepare(options: TrainOptions) -> tuple[Method, StartingModel | None]:
    """Return the method with its initial weights, and the model that they are from, if any.

    Raises UsageError for impossible options, before anything is written.
    """
    if (name := options.method) not in METHODS:
        raise UsageError(f"`method` is {name}: there is no such method{nearest(name, METHODS)}")
    if options.recipe.tensorboard:
        require_tensorboard()
    torch.manual_seed(options.recipe.seed)
    method = METHODS[name].create(options.recipe.preset)
    if not options.recipe.init:
        return method, None
    return method, _start_from(options.recipe, method)


def _start_from(recipe: Recipe, method: Method) -> StartingModel:
    """Give a method the weights of another model. Raises UsageError if they do not fit.

    The model may be of another method, if its network is the same and works in the same domain. A
    2-D network may start from a 3-D one, with its kernels summed along the axis.
    """
    model = load_model(recipe.init)
    network, needed = model.network, method.card({})
    found = model.card.architecture
    if isinstance(network, UNet) and network.architecture.dims == 3:
        flat = {**found, "dims": 2}
        if flat == needed.architecture:
            network, found = flattened(network), flat
    wanted = f"{needed.method} with preset {recipe.preset}"
    if model.card.domain != needed.domain:
        raise UsageError(
            f"init = {recipe.init}: its domain is {model.card.domain}, not {needed.domain}, which "
            f"{wanted} has"
        )
    if found != needed.architecture:
        raise UsageError(
            f"init = {recipe.init}: its network has {_unlike(found, needed.architecture)}; that of "
            f"{wanted} has {_unlike(needed.architecture, found)}: choose the `preset` of the model "
            "or another model"
        )
    method.network.load_state_dict(network.state_dict())
    return StartingModel.of(model)


def _unlike(architecture: Mapping[str, object], other: Mapping[str, object]) -> str:
    """Return the settings in which an architecture differs from another: widths 48, 96, 128."""
    return " and ".join(
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in architecture.items()
        if value != other.get(name)
    )


@dataclass(frozen=True)
class _Run:
    """One call of `train`, in one process of the group."""

    options: TrainOptions
    folder: RunFolder
    method: Method
    base: StartingModel | None
    data: TrainingData
    group: ProcessGroup
    progress: Progress

    def finish(self) -> Path:
        """Train to the end and write the model; returns its path."""
        identity = {
            "method": self.options.method,
            "data": self.data.identity(self.options.recipe),
            "weights": {"sha256": self.base.sha256} if self.base else None,
        }
        recipe, first = self.options.recipe, self.group.is_first
        with self.folder.opened(identity, recipe) if first else nullcontext():
            self.group.wait()
            state = self._train()
            if first:
                self._save_model(state)
                shutil.rmtree(self.folder.supply.folder, ignore_errors=True)
        return self.folder.model

    def _train(self) -> State:
        recipe, folder, group = self.options.recipe, self.folder, self.group
        sources, workers = Sources(no_volumes, []), 0
        if folder.last_step < recipe.steps:
            sources = prepare_sources(folder, self.method, recipe, self.data, group, self.progress)
            workers = recipe.workers or spare_cores()
        validation = Validation(folder.supply, sources.held_out, recipe.validation_steps)
        with (
            open_supply(folder, self.method, recipe, sources.volumes, workers, group) as supplied,
            self.progress.stage("training") as tick,
        ):
            patches, supply = supplied
            messages = TrainingMessages(self.progress, tick, recipe)
            hooks = Hooks(supply.request, supply.release_before, messages.log, messages.validated)
            return train_method(self.method, recipe, patches, validation, folder.path, group, hooks)

    def _save_model(self, state: State) -> None:
        """Write the model file in float16, whose rounding error is an eighth of bfloat16's."""
        origin = Origin(self.data, self.base, self.folder.patients())
        recipe = self.options.recipe
        card = model_card(self.method, recipe, origin, state)
        save_model(self.folder.model, self.method.network, card, torch.float16)
        thinned = self.data.kind == "full dose"
        for line in describe_end(state, recipe, self.base, thinned=thinned):
            self.progress.print(line)


def spare_cores() -> int:
    """Return the workers of a training process: its share of the usable cores, minus one."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1)
