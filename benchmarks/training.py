"""How fast a training step is, and how well it uses the machine.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--method M] [--preset P] [--micro-batch N]

Times forward and backward of the method's loss on patches, in the precision that training takes,
beside bare 3 × 3 × 3 convolutions with their backward at the same widths and sizes, in turns, so
that a busy machine slows both. Prints voxels/s, FLOP/s (of the network, as torch counts them) and
the ratio of the two rates; the least of the times of several rounds counts.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from petdiff.device import describe_device, resolve_device, resolve_precision
from petdiff.methods.registry import METHODS
from petdiff.training.loop import place_weights
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.steps import gradients

WIDTHS = (48, 96, 128)  # of the default network's levels


def convolutions(
    patch: tuple[int, int, int], micro_batch: int, device: torch.device, dtype: torch.dtype
) -> tuple[Callable[[], None], float]:
    """Forward and backward of one convolution a level, as a call, and its FLOP."""
    jobs, flop = [], 0.0
    for level, width in enumerate(WIDTHS, start=1):
        side = [n >> level for n in patch]
        layer = nn.Conv3d(width, width, 3, padding=1, bias=False).to(
            device, dtype, memory_format=torch.channels_last_3d
        )
        x = torch.randn(micro_batch, width, *side, device=device, dtype=dtype)
        x = x.to(memory_format=torch.channels_last_3d).requires_grad_()
        repeats = 4 ** (level - 1)  # as long at each level
        jobs.append((layer, x, torch.ones_like(x), repeats))
        flop += repeats * 3 * 2 * 27 * width**2 * micro_batch * math.prod(side)

    def run() -> None:
        for layer, x, above, repeats in jobs:
            for _ in range(repeats):
                layer(x).backward(above)

    return run, flop


def seconds(call: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="flow3d")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = resolve_device(options.device)
    dtype = resolve_precision("auto", device)
    group = ProcessGroup(0, 1, device)
    torch.manual_seed(0)
    method = METHODS[options.method].create(options.preset)
    place_weights(method.trained, group)
    recipe = Recipe(batch=options.micro_batch, micro_batch=options.micro_batch)
    low = torch.rand(method.patch)
    example = method.example(low, 0.5 + 0.5 * low)
    batch = [(0, torch.stack([example] * options.micro_batch))]
    objectives = method.objectives()

    def step() -> None:
        gradients(objectives, batch, recipe, group, 0, dtype)

    with FlopCounterMode(display=False) as counter:
        step()
    bare, bare_flop = convolutions(method.patch, options.micro_batch, device, dtype)
    bare()
    times = [(seconds(step, device), seconds(bare, device)) for _ in range(options.rounds)]
    step_s, bare_s = (min(column) for column in zip(*times, strict=True))
    rate, ceiling = counter.get_total_flops() / step_s, bare_flop / bare_s
    voxels = options.micro_batch * math.prod(method.patch)
    print(f"{options.method} {options.preset}, {describe_device(device)}, {dtype}")
    print(f"step           {step_s:.3f} s for {options.micro_batch} patches of {method.patch}")
    print(f"voxels         {voxels / step_s / 1e6:.3f} million/s")
    print(f"step           {rate / 1e9:.0f} GFLOP/s, {counter.get_total_flops() / 1e9:.1f} GFLOP")
    print(f"convolutions   {ceiling / 1e9:.0f} GFLOP/s, forward and backward")
    print(f"ratio          {rate / ceiling:.2f}")


if __name__ == "__main__":
    main()
