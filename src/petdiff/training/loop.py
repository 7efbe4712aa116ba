"""The training loop of every method, on one process or on several."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict, cast

import torch
from torch import Tensor, nn

from petdiff.device import resolve_precision
from petdiff.methods.base import Objective, TrainableMethod, replace_network
from petdiff.training.checkpoint import Checkpoints
from petdiff.training.log import LogEntry, StepMeter, TrainingLog
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.schedule import is_over, learning_rate
from petdiff.training.steps import gradients, load_batches, require_even_share
from petdiff.training.supply.patches import PatchCutter
from petdiff.training.validation import Scores, Validation, mean_psnr

_LOG_EVERY = 10  # steps
_BETAS = (0.9, 0.99)  # of Adam


@dataclass
class State:
    """What changes as training goes on, beside the weights; kept in each checkpoint.

    seconds  spent on steps, over all starts of the run
    best     step of the best validation so far
    scores   of each validation, by step
    """

    step: int = 0
    seconds: float = 0.0
    best: int | None = None
    scores: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def without_gain(self) -> int:
        """How many validations there were since the best one."""
        return sum(step > self.best for step in self.scores) if self.best is not None else 0

    def is_stopped(self, patience: int) -> bool:
        """Return whether so many validations brought no gain; 0 never stops."""
        return 0 < patience <= self.without_gain


@dataclass(frozen=True)
class Hooks:
    """What the loop tells those around it; in every process, unless it says otherwise.

    request_volume  called with the highest volume number that a step needs, ahead of the step
    release_before  called after each checkpoint with the lowest volume number still needed; first
                    process alone
    log             called with each entry of the log; first process alone
    validated       called with each validation's step and scores; first process alone
    """

    request_volume: Callable[[int], None] | None = None
    release_before: Callable[[int], None] = lambda volume: None
    log: Callable[[LogEntry], None] = lambda entry: None
    validated: Callable[[int, Scores], None] = lambda step, scores: None


def train(
    method: TrainableMethod,
    recipe: Recipe,
    patches: PatchCutter,
    validation: Validation,
    run: Path,
    group: ProcessGroup,
    hooks: Hooks = Hooks(),
) -> State:
    """Train `method` in the folder `run`, from its newest checkpoint on if it has any.

    Afterwards `method.network` holds the averaged weights of the best validated step, or of the
    last where none was validated. Raises PetdiffError where a loss is not finite.
    """
    require_even_share(recipe, group)
    optimized = _Optimized.place(method, group)
    keeper = _Keeper(recipe, patches, validation, run, group, hooks)
    dtype = resolve_precision(recipe.precision, group.device)
    state = keeper.begin(optimized, dtype)
    batches = load_batches(patches, recipe, group, state.step, hooks.request_volume)
    meter = StepMeter(recipe.batch * math.prod(patches.patch))
    while not (is_over(recipe, state.step, state.seconds) or state.is_stopped(recipe.patience)):
        with meter.waiting():
            batch = next(batches)
        losses = gradients(optimized.objectives, batch, recipe, group, state.step, dtype)
        rate = learning_rate(recipe, state.step, state.seconds)
        optimized.step(rate, ema_decay=min(recipe.ema, (state.step + 1) / (state.step + 10)))
        seconds = meter.count(losses)
        state.step += 1
        state.seconds += group.mean(seconds) if recipe.seconds else seconds
        last = is_over(recipe, state.step, state.seconds)
        if _is_due(state.step, _LOG_EVERY, last):
            keeper.log(meter.entry(state.step, state.seconds, rate))
        if keeper.validate_and_save(state, optimized, last):
            meter.restart()
    group.wait()
    if state.best is not None:
        optimized.average.load_state_dict(keeper.snapshot(state.best)["average"])
    replace_network(method, optimized.average)
    return state


class StateFields(TypedDict):
    """The fields of a State, as a checkpoint holds them."""

    step: int
    seconds: float
    best: int | None
    scores: dict[int, dict[str, dict[str, float]]]


class Snapshot(TypedDict):
    """What a checkpoint holds. Noise and patches follow from the step, so no generator is kept."""

    state: StateFields
    trained: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizers: list[dict[str, object]]


@dataclass(frozen=True)
class _Optimized:
    """A method's weights, their exponential moving average, and the optimizers."""

    method: TrainableMethod
    trained: nn.Module
    average: nn.Module
    objectives: Sequence[Objective]
    optimizers: Sequence[torch.optim.Optimizer]

    @classmethod
    def place(cls, method: TrainableMethod, group: ProcessGroup) -> _Optimized:
        """Move the weights to the device; every process gets those of the first."""
        trained = place_weights(method.trained, group)
        objectives = method.objectives()
        optimizers = [torch.optim.Adam(o.parameters, betas=_BETAS) for o in objectives]
        return cls(method, trained, copy.deepcopy(method.network), objectives, optimizers)

    def step(self, rate: float, ema_decay: float) -> None:
        """Let every optimizer take its step, and the average follow."""
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        update_ema(self.average, self.method.network, ema_decay)

    def snapshot(self, state: State) -> Snapshot:
        """Return all that a run needs to go on to the same bytes."""
        return {
            "state": {
                "step": state.step,
                "seconds": state.seconds,
                "best": state.best,
                "scores": copy.deepcopy(state.scores),
            },
            "trained": self.trained.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, held: Snapshot) -> State:
        """Take the weights and optimizers of a checkpoint; returns its state."""
        self.trained.load_state_dict(held["trained"])
        self.average.load_state_dict(held["average"])
        for optimizer, its in zip(self.optimizers, held["optimizers"], strict=True):
            optimizer.load_state_dict(its)
        return State(**held["state"])


class _Keeper:
    """Keeps the run's folder: log, validations and checkpoints."""

    def __init__(
        self,
        recipe: Recipe,
        patches: PatchCutter,
        validation: Validation,
        run: Path,
        group: ProcessGroup,
        hooks: Hooks,
    ) -> None:
        self.recipe, self.patches, self.validation = recipe, patches, validation
        self.run, self.group, self.hooks = run, group, hooks
        self.checkpoints = Checkpoints(run / "checkpoints")
        self._log: TrainingLog | None = None  # of the first process

    def begin(self, optimized: _Optimized, dtype: torch.dtype) -> State:
        """Open the log; resume from the newest checkpoint, or score the weights to start from."""
        steps = self.checkpoints.steps()
        state = optimized.restore(self.snapshot(steps[-1])) if steps else State()
        if self.group.is_first:
            resumed_at = state.step if steps else None
            self._log = TrainingLog(self.run, resumed_at, self.recipe.tensorboard)
            if not steps:
                place = {"device": str(self.group.device), "precision": str(dtype)}
                settings = self.recipe.model_dump()
                self._log.write({"recipe": settings, "processes": self.group.size, **place})
        if not steps and self.recipe.init and self.recipe.validate_every:
            self._validate(state, optimized)
            self._save(state, optimized)
        self.group.wait()
        return state

    def snapshot(self, step: int) -> Snapshot:
        """Read the checkpoint of a step."""
        return cast(Snapshot, self.checkpoints.load(step))

    def log(self, entry: LogEntry) -> None:
        """Write a line of the log."""
        if self._log is not None:
            self._log.write(asdict(entry))
            self.hooks.log(entry)

    def validate_and_save(self, state: State, optimized: _Optimized, last: bool) -> bool:
        """Do what is due after a step; returns whether anything was."""
        validates = _is_due(state.step, self.recipe.validate_every, last)
        saves = validates or _is_due(state.step, self.recipe.save_every, last)
        if validates:
            self._validate(state, optimized)
        if saves:
            self._save(state, optimized)
        return saves

    def _validate(self, state: State, optimized: _Optimized) -> None:
        picture = self.run / "validation" / f"step-{state.step:08d}.png"
        scores = self.validation.judge(optimized.method, optimized.average, self.group, picture)
        if scores is None:
            return
        state.scores[state.step] = asdict(scores)
        state.best = max(state.scores, key=lambda step: mean_psnr(state.scores[step]))
        if self._log is not None:
            self._log.write({"step": state.step, "psnr_db": asdict(scores)})
            self.hooks.validated(state.step, scores)

    def _save(self, state: State, optimized: _Optimized) -> None:
        if self.group.is_first:
            self.checkpoints.save(state.step, optimized.snapshot(state), state.best)
            self.hooks.release_before(self.patches.window(state.step * self.recipe.batch).start)


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the exponential moving average of a network's weights on by one step."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def place_weights(trained: nn.Module, group: ProcessGroup) -> nn.Module:
    """Move weights to the device, equal in each process, stored channels last where that is fast.

    Returns the module, in training mode.
    """
    trained = trained.to(group.device).train()
    _store_channels_last(trained, group.device)
    group.share_weights(trained)
    return trained


def _store_channels_last(module: nn.Module, device: torch.device) -> None:
    if device.type == "cpu" and not getattr(module, "channels_last_on_cpu", True):
        return
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters(recurse=False):
        if parameter.ndim in formats:
            parameter.data = parameter.detach().contiguous(memory_format=formats[parameter.ndim])
    for part in module.children():
        _store_channels_last(part, device)


def _is_due(step: int, every: int, last: bool) -> bool:
    return every > 0 and (step % every == 0 or last)
