"""The training loop in its plainest form: one process, one method, patches without end."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from petdiff.errors import PetdiffError, UsageError
from petdiff.methods.flow3d import Flow3D, loss
from petdiff.training.checkpoint import load_checkpoint, save_checkpoint
from petdiff.training.dataset import PATCHES_PER_SLAB, SlabPatches


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a training run, and may not change when it resumes."""

    preset: str = "default"  # size of the network
    steps: int = 10_000
    batch: int = 2  # patches a step
    rate: float = 1e-3  # learning rate after warm-up
    warmup: int = 200  # steps
    cooldown: float = 0.3  # last share of the steps, in which the rate falls to zero
    ema: float = 0.999  # of the weights that are kept
    clip: float = 1.0  # of the gradient's norm
    seed: int = 0  # of weights, noise and supply


def train(
    recipe: Recipe,
    run: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    save_every: int = 250,
    report: Callable[[int, float, float], None] | None = None,
) -> Flow3D:
    """Train flow3d in the folder `run`; returns the method with its averaged weights.

    run     receives log.jsonl (a line every 10 steps) and checkpoint.pt
    report  is called with (step, loss, seconds since the start) every 10 steps
    """
    torch.manual_seed(recipe.seed)
    method = Flow3D.create(recipe.preset)
    method.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = copy.deepcopy(method.network)
    optimizer = torch.optim.Adam(method.network.parameters(), lr=recipe.rate, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(recipe.seed)
    first = 0
    if resume:
        first = _restore(run / "checkpoint.pt", recipe, method, average, optimizer, generator)
    run.mkdir(parents=True, exist_ok=True)
    supply = SlabPatches(recipe.seed, start=first * recipe.batch // PATCHES_PER_SLAB)
    ahead = 8 if workers else None
    batches = iter(DataLoader(supply, recipe.batch, num_workers=workers, prefetch_factor=ahead))

    start, recent = time.monotonic(), []
    with (run / "log.jsonl").open("a") as log:
        for step in range(first, recipe.steps):
            value = _step(method, optimizer, next(batches), recipe, step, generator)
            _follow(average, method.network, min(recipe.ema, (step + 1) / (step + 10)))
            recent.append(value)
            if (step + 1) % 10 == 0:
                mean, seconds = sum(recent) / len(recent), time.monotonic() - start
                recent.clear()
                log.write(json.dumps({"step": step + 1, "loss": mean, "seconds": seconds}) + "\n")
                log.flush()
                if report is not None:
                    report(step + 1, mean, seconds)
            if (step + 1) % save_every == 0 or step + 1 == recipe.steps:
                state = {
                    "recipe": asdict(recipe),
                    "step": step + 1,
                    "network": method.network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(),
                }
                save_checkpoint(run / "checkpoint.pt", state)
    method.network = average
    return method


def learning_rate(recipe: Recipe, step: int) -> float:
    """Warm-up, a plateau, then a straight line to zero."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    fall = min(1.0, (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps))
    return recipe.rate * rise * fall


def _step(
    method: Flow3D,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor, Tensor],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(method, *batch, generator)
    if not math.isfinite(value.item()):
        raise PetdiffError(f"loss is {value.item()} at step {step}: the last checkpoint is intact")
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(method.network.parameters(), recipe.clip)
    optimizer.step()
    return value.item()


@torch.no_grad()
def _follow(average: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


def _restore(
    path: Path,
    recipe: Recipe,
    method: Flow3D,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    state = load_checkpoint(path)
    if state["recipe"] != asdict(recipe):
        changed = [k for k, v in asdict(recipe).items() if state["recipe"].get(k) != v]
        raise UsageError(f"{path}: trained with another recipe ({', '.join(changed)} differ)")
    method.network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    return int(state["step"])
