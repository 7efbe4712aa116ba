"""The training loop of all methods, on one process or several."""

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
from petdiff.methods.base import Method, Objective
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
    """The progress of training, stored in each checkpoint with the weights.

    seconds  time of all steps, including earlier starts of the run
    best     step of the best validation so far
    scores   scores of each validation, by step
    """

    step: int = 0
    seconds: float = 0.0
    best: int | None = None
    scores: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def validations_without_gain(self) -> int:
        """The number of validations since the best one."""
        return sum(step > self.best for step in self.scores) if self.best is not None else 0

    def is_patience_over(self, patience: int) -> bool:
        """Return whether `patience` validations in sequence brought no gain; never for 0."""
        return 0 < patience <= self.validations_without_gain


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the loop, called in every process unless stated otherwise.

    request_volume  called with the highest volume number that a step needs, before the step
    release_before  called after each checkpoint with the lowest volume number still needed; in
                    the first process only
    log             called with each entry of the log; in the first process only
    validated       called with each validation's step and scores; in the first process only
    """

    request_volume: Callable[[int], None] | None = None
    release_before: Callable[[int], None] = lambda volume: None
    log: Callable[[LogEntry], None] = lambda entry: None
    validated: Callable[[int, Scores], None] = lambda step, scores: None


def train(
    method: Method,
    recipe: Recipe,
    patches: PatchCutter,
    validation: Validation,
    run: Path,
    group: ProcessGroup,
    hooks: Hooks = Hooks(),
) -> State:
    """Train `method` in the folder `run`. If `run` has checkpoints, resume from the newest.

    Afterwards `method.network` has the averaged weights (EMA) of the step with the best validation,
    or of the last step if none was validated, mixed with `init_share` of its initial weights.
    Raises PetdiffError if a loss is not finite.
    """
    require_even_share(recipe, group)
    optimized = _Optimization.place(method, recipe.init_share, group)
    recorder = _RunRecorder(recipe, patches, validation, run, group, hooks)
    dtype = resolve_precision(recipe.precision, group.device)
    state = recorder.begin(optimized, dtype)
    batches = load_batches(patches, recipe, group, state.step, hooks.request_volume)
    meter = StepMeter(recipe.batch * math.prod(patches.patch))
    while not (
        is_over(recipe, state.step, state.seconds) or state.is_patience_over(recipe.patience)
    ):
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
            recorder.log(meter.entry(state.step, state.seconds, rate))
        if recorder.validate_and_save(state, optimized, last):
            meter.restart()
    group.wait()
    if state.best is not None:
        optimized.average.load_state_dict(recorder.snapshot(state.best)["average"])
    method.network = optimized.result()
    return state


class StateFields(TypedDict):
    """The fields of a State in a checkpoint."""

    step: int
    seconds: float
    best: int | None
    scores: dict[int, dict[str, dict[str, float]]]


class Snapshot(TypedDict):
    """The content of a checkpoint. Noise and patches depend on the step only: no random state."""

    state: StateFields
    trained: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizers: list[dict[str, object]]


@dataclass(frozen=True)
class _Optimization:
    """A method's weights, their exponential moving average, and the optimizers.

    initial, initial_share  the network as it was before training, and its share in the result
    """

    method: Method
    trained: nn.Module
    average: nn.Module
    initial: nn.Module
    initial_share: float
    objectives: Sequence[Objective]
    optimizers: Sequence[torch.optim.Optimizer]

    @classmethod
    def place(cls, method: Method, initial_share: float, group: ProcessGroup) -> _Optimization:
        """Move the weights to the device. Every process gets those of the first."""
        trained = place_weights(method.trained, group)
        objectives = method.objectives()
        optimizers = [torch.optim.Adam(o.parameters, betas=_BETAS) for o in objectives]
        average, initial = (copy.deepcopy(method.network) for _ in range(2))
        return cls(method, trained, average, initial, initial_share, objectives, optimizers)

    def result(self) -> nn.Module:
        """Return the network of the model: the averaged weights, mixed with the initial ones.

        Such a mean keeps most of what either can do (Wortsman et al. 2022, arXiv 2109.01903).
        """
        mixed = copy.deepcopy(self.average)
        with torch.no_grad():
            for weights, initial in zip(mixed.parameters(), self.initial.parameters(), strict=True):
                weights.lerp_(initial, self.initial_share)
        return mixed

    def step(self, rate: float, ema_decay: float) -> None:
        """Do a step of every optimizer, and update the average."""
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        update_ema(self.average, self.method.network, ema_decay)

    def snapshot(self, state: State) -> Snapshot:
        """Return all that is needed to resume with identical results."""
        return {
            "state": cast(StateFields, asdict(state)),
            "trained": self.trained.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, checkpoint: Snapshot) -> State:
        """Load the weights and optimizers of a checkpoint; returns its state."""
        self.trained.load_state_dict(checkpoint["trained"])
        self.average.load_state_dict(checkpoint["average"])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        return State(**checkpoint["state"])


class _RunRecorder:
    """Writes log, validations and checkpoints into the folder of the run."""

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
        self._log: TrainingLog | None = None  # only in the first process

    def begin(self, optimized: _Optimization, dtype: torch.dtype) -> State:
        """Open the log; resume from the newest checkpoint, or validate the starting weights."""
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

    def validate_and_save(self, state: State, optimized: _Optimization, last: bool) -> bool:
        """Validate and save if it is due after a step; returns whether a checkpoint was saved."""
        validates = _is_due(state.step, self.recipe.validate_every, last)
        saves = validates or _is_due(state.step, self.recipe.save_every, last)
        if validates:
            self._validate(state, optimized)
        if saves:
            self._save(state, optimized)
        return saves

    def _validate(self, state: State, optimized: _Optimization) -> None:
        picture = self.run / "validation" / f"step-{state.step:08d}.png"
        scores = self.validation.score(optimized.method, optimized.result(), self.group, picture)
        if scores is None:
            return
        state.scores[state.step] = asdict(scores)
        state.best = max(state.scores, key=lambda step: mean_psnr(state.scores[step]))
        if self._log is not None:
            self._log.write({"step": state.step, "psnr_db": asdict(scores)})
            self.hooks.validated(state.step, scores)

    def _save(self, state: State, optimized: _Optimization) -> None:
        if self.group.is_first:
            self.checkpoints.save(state.step, optimized.snapshot(state), state.best)
            needed = self.patches.volume_numbers(state.step * self.recipe.batch)
            self.hooks.release_before(needed.start)


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update the exponential moving average of a network's weights: one step."""
    for averaged, new in zip(average.parameters(), network.parameters(), strict=True):
        averaged.lerp_(new, 1 - decay)
    for buffer, new_buffer in zip(average.buffers(), network.buffers(), strict=True):
        buffer.copy_(new_buffer)


def place_weights(trained: nn.Module, group: ProcessGroup) -> nn.Module:
    """Move weights to the device, the same in each process, in the fastest memory format.

    Returns the module in training mode.
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
