"""The training loop of every method, on one process or on many: the result is the same to rounding.

A step's batch is cut into chunks; chunk c of step t sees the patches and the noise that (seed, t,
c) name, whichever process takes it. Gradients of the chunks are added up, over the processes too.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from petdiff.device import resolve_precision
from petdiff.errors import PetdiffError, UsageError
from petdiff.methods.objective import Objective
from petdiff.training.checkpoint import Checkpoints
from petdiff.training.log import Clock, Journal, Tick
from petdiff.training.process_group import Ranks
from petdiff.training.recipe import Recipe
from petdiff.training.supply.patches import Patches
from petdiff.training.validation import Validation, mean_psnr

Batch = list[tuple[int, Tensor]]  # a process's chunks of a step: number, patches [n, c, i, j, k]

_TICK = 10  # steps between lines of the log
_BETAS = (0.9, 0.99)  # of Adam
_PREFETCH = 3  # steps


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


def train(
    method: Any,
    recipe: Recipe,
    patches: Patches,
    validation: Validation,
    run: Path,
    ranks: Ranks,
    *,
    announce: Callable[[int], None] | None = None,
    drop_before: Callable[[int], None] | None = None,
    report: Callable[[Tick], None] | None = None,
) -> State:
    """Train `method` in the folder `run`, from its newest checkpoint on if it has any.

    announce     is told the newest slab that a step may need, before the step's patches are cut
    drop_before  is told the oldest slab that is still needed, after each checkpoint

    Afterwards `method.network` holds the averaged weights of the best validated step; of the last,
    where none was validated. Raises PetdiffError where a loss is not finite.
    """
    _require_share(recipe, ranks)
    trained = placed(method.trained, ranks)
    average = copy.deepcopy(method.network)
    objectives = method.objectives()
    optimizers = [torch.optim.Adam(o.parameters, betas=_BETAS) for o in objectives]
    checkpoints = Checkpoints(run / "checkpoints")
    state = _restore(checkpoints, trained, average, optimizers)
    dtype = resolve_precision(recipe.precision, ranks.device)
    journal = Journal(run, state.step, recipe.tensorboard) if ranks.first else None
    if journal is not None and state.step == 0:
        place = {"processes": ranks.world, "device": str(ranks.device), "precision": str(dtype)}
        journal.line({"recipe": asdict(recipe), **place})

    supply = load_batches(patches, recipe, ranks, state.step, announce)
    clock = Clock(recipe.batch * math.prod(patches.patch))
    for step in range(state.step, recipe.steps):
        if is_spent(recipe, state.seconds):
            break
        with clock.waiting():
            batch = next(supply)
        losses = gradients(objectives, batch, recipe, ranks, step, dtype)
        rate = learning_rate(recipe, step, state.seconds)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        follow(average, method.network, min(recipe.ema, (step + 1) / (step + 10)))
        state.step = step + 1
        state.seconds += ranks.mean(clock.step(losses)) if recipe.seconds else clock.step(losses)
        last = state.step == recipe.steps or is_spent(recipe, state.seconds)

        if state.step % _TICK == 0 or last:
            tick = clock.tick(state.step, state.seconds, rate)
            if journal is not None:
                journal.line(asdict(tick))
                if report is not None:
                    report(tick)
        if _is_due(state.step, recipe.validate_every, last):
            picture = run / "validation" / f"step-{state.step:08d}.png"
            scores = validation.judge(method, average, ranks, picture)
            if scores is not None:
                state.scores[state.step] = asdict(scores)
                state.best = max(state.scores, key=lambda s: mean_psnr(state.scores[s]))
                if journal is not None:
                    journal.line({"step": state.step, "psnr_db": asdict(scores)})
            clock.restart()
        due = (_is_due(state.step, n, last) for n in (recipe.save_every, recipe.validate_every))
        if any(due):
            if ranks.first:
                held = _all_state(state, trained, average, optimizers)
                checkpoints.save(state.step, held, state.best)
                if drop_before is not None:
                    drop_before(patches.window(state.step * recipe.batch).start)
            clock.restart()
    ranks.wait()
    if state.best is not None:
        average.load_state_dict(checkpoints.load(state.best)["average"])
    method.network = average
    return state


def gradients(
    objectives: Sequence[Objective],
    batch: Batch,
    recipe: Recipe,
    ranks: Ranks,
    step: int,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Leave each objective's clipped gradient, of the batch's mean loss, in its parameters.

    Returns the losses by name. All gradients are taken at the same weights, before any step. Raises
    PetdiffError, naming the patches, where a loss or a gradient is not finite.
    """
    chunks = recipe.batch // recipe.chunk
    losses = torch.zeros(len(objectives), chunks, device=ranks.device)
    parameters = [parameter for objective in objectives for parameter in objective.parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    low_precision = dtype != torch.float32
    for c, chunk in batch:
        seen = chunk.to(ranks.device, non_blocking=True)
        for n, objective in enumerate(objectives):
            generator = torch.Generator().manual_seed(noise_seed(recipe.seed, step, c))
            torch.manual_seed(generator.initial_seed())  # for dropout
            with torch.autocast(ranks.device.type, dtype, enabled=low_precision):
                loss = objective.loss(seen, generator)
            (loss / chunks).backward(inputs=objective.parameters)  # type: ignore[no-untyped-call]
            losses[n, c] = loss.detach()
    ranks.add_up([*(p.grad for p in parameters if p.grad is not None), losses])
    norms = [nn.utils.clip_grad_norm_(o.parameters, recipe.clip) for o in objectives]
    _require_finite(losses, torch.stack(norms), recipe, step)
    means = losses.mean(1).tolist()
    return {objective.name: mean for objective, mean in zip(objectives, means, strict=True)}


def load_batches(
    patches: Patches,
    recipe: Recipe,
    ranks: Ranks,
    first: int,
    announce: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """This process's chunks of each step from `first` on, cut ahead of need by a thread."""

    def load(step: int) -> Batch:
        if announce is not None:  # of all ranks' patches: each rank makes slabs for the others
            announce(patches.window((step + 1) * recipe.batch - 1).stop - 1)
        batch = []
        for c in range(ranks.rank, recipe.batch // recipe.chunk, ranks.world):
            chunk = torch.stack([patches.cut(p) for p in patch_numbers(recipe, step, c)])
            batch.append((c, chunk.pin_memory() if ranks.device.type == "cuda" else chunk))
        return batch

    reader = ThreadPoolExecutor(1)
    try:
        ahead = deque(
            reader.submit(load, step) for step in range(first, min(first + _PREFETCH, recipe.steps))
        )
        for step in range(first, recipe.steps):
            batch = ahead.popleft().result()
            if step + _PREFETCH < recipe.steps:
                ahead.append(reader.submit(load, step + _PREFETCH))
            yield batch
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def patch_numbers(recipe: Recipe, step: int, chunk: int) -> range:
    """Of a chunk of a step's batch."""
    first = step * recipe.batch + chunk * recipe.chunk
    return range(first, first + recipe.chunk)


def noise_seed(seed: int, step: int, chunk: int) -> int:
    """Of all noise that a chunk's loss draws."""
    return int(np.random.SeedSequence([seed, 3, step, chunk]).generate_state(1)[0])


def learning_rate(recipe: Recipe, step: int, seconds: float = 0.0) -> float:
    """A straight rise over the warm-up, then half a cosine down to zero at the last step's end.

    seconds  that training has taken; with a budget of them the cosine ends there if that is sooner
    """
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    if recipe.seconds:
        done = min(1.0, max(done, seconds / recipe.seconds))
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * done))


def is_spent(recipe: Recipe, seconds: float) -> bool:
    """Whether a budget of seconds is used up; never, where there is none."""
    return 0 < recipe.seconds <= seconds


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an exponential average of weights on by one step."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def placed(trained: nn.Module, ranks: Ranks) -> nn.Module:
    """On the device, with the same weights in each process, channels last where that is fast."""
    trained = trained.to(ranks.device).train()
    _store_channels_last(trained, ranks.device)
    ranks.share_weights(trained)
    return trained


def _store_channels_last(module: nn.Module, device: torch.device) -> None:
    if device.type == "cpu" and not getattr(module, "channels_last_on_cpu", True):
        return
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters(recurse=False):
        if parameter.ndim in formats:
            stored: Any = parameter.detach().contiguous(memory_format=formats[parameter.ndim])
            parameter.data = stored
    for part in module.children():
        _store_channels_last(part, device)


def _all_state(
    state: State,
    trained: nn.Module,
    average: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
) -> dict[str, Any]:
    """All that a run needs to go on to the same bytes: noise and patches follow from the step."""
    return {
        "state": asdict(state),
        "trained": trained.state_dict(),
        "average": average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }


def _restore(
    checkpoints: Checkpoints,
    trained: nn.Module,
    average: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
) -> State:
    steps = checkpoints.steps()
    if not steps:
        return State()
    held = checkpoints.load(steps[-1])
    trained.load_state_dict(held["trained"])
    average.load_state_dict(held["average"])
    for optimizer, its in zip(optimizers, held["optimizers"], strict=True):
        optimizer.load_state_dict(its)
    return State(**held["state"])


def _is_due(step: int, every: int, last: bool) -> bool:
    return every > 0 and (step % every == 0 or last)


def _require_share(recipe: Recipe, ranks: Ranks) -> None:
    chunks = recipe.batch // recipe.chunk
    if chunks % ranks.world:
        raise UsageError(
            f"batch = {recipe.batch} in chunks of {recipe.chunk} cannot be shared by {ranks.world} "
            f"processes: make it a multiple of {recipe.chunk * ranks.world}"
        )


def _require_finite(losses: Tensor, norms: Tensor, recipe: Recipe, step: int) -> None:
    if losses.isfinite().all() and norms.isfinite().all():
        return
    chunks = [c for c in range(losses.shape[1]) if not losses[:, c].isfinite().all()]
    numbers = [p for c in chunks or range(losses.shape[1]) for p in patch_numbers(recipe, step, c)]
    what = "the loss" if chunks else "the gradient"
    raise PetdiffError(
        f"{what} is not finite in step {step + 1}, patches {', '.join(map(str, numbers))} of seed "
        f"{recipe.seed}; nothing was changed by it, and the checkpoints are intact: lower the "
        "rate, or look at the data"
    )
