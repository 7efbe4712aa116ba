"""A training small enough for tests: networks of a few weights, volumes of noise, seconds in all.

As a program, for what one process cannot show:

    python little_training.py RUN shared N    train in N processes, as torchrun starts them
    python little_training.py RUN killed N    train in a child that is killed N times at random

Children are forked, not started anew: that spares them the seconds of importing torch.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from petdiff.data.array_store import Store
from petdiff.methods.base import Objective
from petdiff.training.checkpoint import Checkpoints
from petdiff.training.loop import Hooks, State, train
from petdiff.training.prepare import open_supply
from petdiff.training.process_group import join_group, leave_group
from petdiff.training.recipe import Recipe
from petdiff.training.run_folder import RunFolder
from petdiff.training.supply.paired_volumes import PairedVolumes, VolumeSource
from petdiff.training.validation import Validation

RECIPE = Recipe(
    steps=40, batch=4, warmup=4, learning_rate=1e-2, pool=3, patches_per_volume=8, save_every=5,
    validate_every=0, precision="float32",
)  # fmt: skip


def little_volumes(seed: int, number: int) -> PairedVolumes:
    """A noisy gradient and two noisier doubles of it."""
    rng = np.random.default_rng([seed, number])
    truth = np.linspace(0.5, 2, 16, dtype=np.float32)[:, None, None] * np.ones((1, 14, 12))
    full, low, lower = (
        rng.poisson(counts * truth).astype(np.float32) / counts for counts in (100, 20, 5)
    )
    return PairedVolumes(full, {5.0: low, 20.0: lower})


def volumes_with_nan(number: int) -> PairedVolumes:
    """Little volumes of which one holds NaN; worker processes can import this module."""
    volumes = little_volumes(0, number)
    volumes.lows[20.0][3, 3, 3] = np.nan
    return volumes


def _filter() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.SiLU(), nn.Dropout(0.1), nn.Conv3d(4, 1, 3, padding=1)
    )


@dataclass
class Little:
    """A filter with dropout that learns the full-dose scan, and a critic with a loss of its own."""

    network: nn.Module = field(default_factory=_filter)
    critic: nn.Module = field(default_factory=lambda: nn.Conv3d(1, 1, 1))
    patch: tuple[int, int, int] = (8, 8, 6)
    pace_s: float = 0.0  # at least, of a micro-batch: a run that is to be killed must last

    @property
    def trained(self) -> nn.Module:
        return nn.ModuleList([self.network, self.critic])

    def example(self, low: Tensor, full: Tensor, dose: float | None = None) -> Tensor:
        return torch.stack([full, low])

    def objectives(self) -> list[Objective]:
        def error(batch: Tensor, generator: torch.Generator) -> Tensor:
            time.sleep(self.pace_s)
            noise = torch.randn(batch[:, 1:].shape, generator=generator)
            return (self.network(batch[:, 1:] + 0.1 * noise) - batch[:, :1]).square().mean()

        def criticism(batch: Tensor, generator: torch.Generator) -> Tensor:
            return (self.critic(self.network(batch[:, 1:])) - batch[:, :1]).square().mean()

        return [
            Objective("error", list(self.network.parameters()), error),
            Objective("criticism", list(self.critic.parameters()), criticism),
        ]


def train_little(
    run: Path,
    recipe: Recipe = RECIPE,
    *,
    method: Little | None = None,
    source: VolumeSource | None = None,
    workers: int = 0,
    validation: Validation | None = None,
) -> tuple[Little, State]:
    """Train in `run`; returns the method with its averaged weights, and the state."""
    torch.manual_seed(recipe.seed)
    method = method or Little()
    group = join_group("cpu")
    source = source or partial(little_volumes, recipe.seed)
    validation = validation or Validation(Store(run / "supply"), [], 1)
    try:
        with open_supply(RunFolder(run), method, recipe, source, workers, group) as supplied:
            patches, supply = supplied
            hooks = Hooks(supply.request, supply.release_before)
            return method, train(method, recipe, patches, validation, run, group, hooks)
    finally:
        leave_group()


def train_and_keep(run: Path, pace_s: float = 0.0) -> None:
    """Train, and have the first process write the averaged weights as weights.pt."""
    torch.manual_seed(RECIPE.seed)
    method, _ = train_little(run, method=Little(pace_s=pace_s))
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(method.network.state_dict(), run / "weights.pt")


def train_shared(run: Path, processes: int) -> None:
    """Train in a group of processes with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            own = {"RANK": rank, "LOCAL_RANK": rank}
            os.environ.update({name: str(value) for name, value in (group | own).items()})
            train_and_keep(run)
            os._exit(0)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit("a process of the group failed")


def train_killed(run: Path, kills: int) -> None:
    """Train in children, the first `kills` of which are killed at random moments of their work."""
    random_s = random.Random(0)
    died = 0
    while not (run / "weights.pt").exists():
        child = os.fork()
        if child == 0:
            train_and_keep(run, pace_s=0.02)
            os._exit(0)
        if died < kills:
            time.sleep(random_s.uniform(0.02, 0.25))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        died += os.WIFSIGNALED(status)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            sys.exit("a child failed by itself")
    print(f"killed {died}, checkpoints {Checkpoints(run / 'checkpoints').steps()}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.Adam([nn.Parameter(torch.zeros(1))])  # imports what the children will need
    folder, how, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    {"shared": train_shared, "killed": train_killed}[how](folder, number)
