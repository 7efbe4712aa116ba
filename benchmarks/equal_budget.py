"""Trains each method for the same seconds on the same simulated volumes, for comparison.

    OMP_NUM_THREADS=1 python benchmarks/equal_budget.py -o RUNS --seconds 1200 [METHOD ...]

Training ends when its seconds are spent, and the learning rate falls with them. All other settings
are the same, and so are the data: `--volumes` simulated volumes, each used equally often, which
takes an estimate of how many steps there will be. They are simulated once, before training, into
RUNS/volumes. RUNS/METHOD then holds `model.safetensors`. Two instances, with other methods each,
share two cores and the simulation.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch

from petdiff.device import resolve_device, resolve_precision
from petdiff.methods.registry import METHODS
from petdiff.progress import Progress
from petdiff.training.loop import place_weights
from petdiff.training.prepare import recipe_volumes
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.run import TrainOptions, train
from petdiff.training.steps import gradients

BATCH = 2
TIMED = 3  # steps, after one that warms up
MARGIN = 1.5  # more steps than estimated, at most: the seconds shall decide


def seconds_a_step(name: str, preset: str) -> float:
    """Forward, backward and nothing else, of a batch of uniform patches."""
    group = ProcessGroup(0, 1, resolve_device("cpu"))
    method = METHODS[name].create(preset)
    place_weights(method.trained, group)
    low = torch.rand(method.patch)
    patch = method.example(low, 0.5 + 0.5 * low)[None]
    recipe = Recipe(batch=BATCH, micro_batch=1)
    batch = [(n, patch) for n in range(BATCH)]
    dtype = resolve_precision("auto", group.device)
    taken = []
    for _ in range(1 + TIMED):
        start = time.perf_counter()
        gradients(method.objectives(), batch, recipe, group, 0, dtype)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def simulate_volumes(recipe: Recipe) -> None:
    """Fill the cache, in an order that another process that does the same is unlikely to have."""
    source = recipe_volumes(recipe)
    for n, number in enumerate(random.sample(range(recipe.pool), recipe.pool)):
        source(number)
        print(f"volume {n + 1}/{recipe.pool}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--volumes", type=int, default=150)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--realistic-share", type=float, default=0.5, help="of volumes")
    options = parser.parse_args()
    for name in options.methods or list(METHODS):
        step_s = seconds_a_step(name, options.preset)
        expected = options.seconds / step_s
        steps = max(1, round(MARGIN * expected))
        print(f"{name}: {step_s:.2f} s a step, so about {expected:.0f} steps", flush=True)
        recipe = Recipe(
            preset=options.preset,
            seed=options.seed,
            steps=steps,
            seconds=options.seconds,
            batch=BATCH,
            pool=options.volumes,
            patches_per_volume=math.ceil(steps * BATCH / options.volumes),
            validate_every=0,
            volume_cache=str(options.output / "volumes"),
            realistic_share=options.realistic_share,
        )
        simulate_volumes(recipe)
        run = TrainOptions(
            method=name, output=options.output / name, recipe=recipe, device="cpu", resume=True
        )
        print(train(run, progress=Progress()))


if __name__ == "__main__":
    main()
