"""Trains each method for the same seconds on the same slabs, so that they can be compared.

    OMP_NUM_THREADS=1 python benchmarks/equal_budget.py -o RUNS --seconds 1200 [METHOD ...]

Training ends when its seconds are spent, and the learning rate falls with them. Every other setting
is the same, and so is the supply: `--slabs` slabs of the virtual clinic, or of one scanner and
tracer of it, seen equally often, which takes an estimate of how many steps there will be. They are
scanned once, before training, into RUNS/slabs. RUNS/METHOD then holds `model.safetensors`. Two
instances, with other methods each, share two cores; and the scanning of slabs.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch

from petdiff.commands.train import Request, train_model
from petdiff.device import resolve_device, resolve_precision
from petdiff.methods.model import methods
from petdiff.training.loop import gradients, placed
from petdiff.training.process_group import Ranks
from petdiff.training.recipe import Recipe, read_recipe
from petdiff.training.supply.simulated import clinic_slabs

BATCH = 2
TIMED = 3  # steps, after one that warms up
WARMUP_SHARE = 0.1  # of the steps: methods that are slow take few
MARGIN = 1.5  # more steps than estimated, at most: the seconds shall decide


def seconds_a_step(name: str, preset: str) -> float:
    """Forward, backward and nothing else, of a batch of uniform patches."""
    ranks = Ranks(0, 1, resolve_device("cpu"))
    method = methods()[name].create(preset)
    placed(method.trained, ranks)
    low = torch.rand(method.patch)
    chunk = method.example(low, 0.5 + 0.5 * low)[None]
    batch = [(n, chunk) for n in range(BATCH)]
    dtype = resolve_precision("auto", ranks.device)
    taken = []
    for _ in range(1 + TIMED):
        start = time.perf_counter()
        gradients(method.objectives(), batch, Recipe(batch=BATCH), ranks, 0, dtype)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def scan_slabs(recipe: Recipe) -> None:
    """All of them, in an order that another process, which does the same, is not likely to have."""
    slabs = clinic_slabs(recipe)
    for n, index in enumerate(random.sample(range(recipe.pool), recipe.pool)):
        slabs(index)
        print(f"slab {n + 1}/{recipe.pool}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--slabs", type=int, default=150)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--clinical-share", type=float, default=0.5, help="of the slabs")
    parser.add_argument("--scanner", default="", help="train on its scans alone, of --tracer")
    parser.add_argument("--tracer", default="")
    options = parser.parse_args()
    for name in options.methods or list(methods()):
        step_s = seconds_a_step(name, options.preset)
        expected = options.seconds / step_s
        steps = max(1, round(MARGIN * expected))
        print(f"{name}: {step_s:.2f} s a step, so about {expected:.0f} steps", flush=True)
        settings = {
            "preset": f'"{options.preset}"',
            "seed": options.seed,
            "steps": steps,
            "seconds": options.seconds,
            "batch": BATCH,
            "warmup": round(WARMUP_SHARE * expected),
            "pool": options.slabs,
            "patches_per_slab": math.ceil(steps * BATCH / options.slabs),
            "validate_every": 0,
            "kept_slabs": f'"{options.output / "slabs"}"',
            "clinical_share": options.clinical_share,
            "scanner": f'"{options.scanner}"',
            "tracer": f'"{options.tracer}"',
        }
        options.output.mkdir(parents=True, exist_ok=True)
        recipe = options.output / f"{name}.toml"
        recipe.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        scan_slabs(read_recipe(recipe))
        train_model(Request(name, config=recipe, device="cpu", resume=True), options.output / name)


if __name__ == "__main__":
    main()
