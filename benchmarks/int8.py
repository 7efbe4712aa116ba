"""Convolutions in 8-bit integers: measures what they need, and what they cost in accuracy.

    python benchmarks/int8.py ranges [--model NAME] [--volumes 40]
    python benchmarks/int8.py compare [--model NAME] [--patients 4]

`ranges` writes the range of every activation beside the model's weights (NAME.int8.json): over
simulated volumes of the kind that training draws, at each dose and at several noise levels. A range
holds all activations of 95 % of them; the few beyond it are limited to it.
`compare` denoises abdomens of patients that no training draws in float32 and in int8, and prints
PSNR, the change of organs and of the hottest voxels, and the seconds of the processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

import petdiff
from petdiff.evaluation.metrics import psnr
from petdiff.image import PETImage
from petdiff.inference.options import Precision
from petdiff.methods.activation_ranges import integer_layers, ranges_path
from petdiff.methods.local_denoiser import LocalDenoiser
from petdiff.methods.model import Model, load_model
from petdiff.methods.weights_files import weights_path, write_beside
from petdiff.networks.int8 import ActivationRanges, ChannelRanges
from petdiff.simulation.study import Simulation, simulate
from petdiff.training.prepare import recipe_volumes
from petdiff.training.recipe import Recipe
from petdiff.volume.regions import body_mask, voxel_ml

SEED = 880_000  # of volumes, which no shipped model was trained on
PRECISIONS: tuple[Precision, Precision] = ("float32", "int8")
MIN_ML = 20.0  # of an organ
SIDE = 64  # voxels of a volume, at most
LEVELS = (torch.inf, 0.6, 0.1, 0.01)  # σ beside r
SCANS = "{} simulated volumes of seed {}, each dose, at σ of ∞, 0.6, 0.1 and 0.01; 95 % of them"
SHARE = 0.95  # of the scans whose activations all lie within the ranges, channel by channel
Extremes = dict[str, list[tuple[Tensor, Tensor]]]


def measure_ranges(model: Model, volumes: int) -> None:
    """Write the ranges of the model's activations beside its weights."""
    method, seen = model.method, Extremes()
    assert isinstance(method, LocalDenoiser)
    layers = dict(model.network.named_modules())
    for name in integer_layers(model.network):
        layers[name].register_forward_pre_hook(watcher(name, seen))
    source = recipe_volumes(Recipe(seed=SEED))
    generator = torch.Generator().manual_seed(SEED)
    for number in range(volumes):
        for drf, low in source(number).lows.items():
            y = torch.from_numpy(np.array(low, dtype=np.float32))
            i, j, k = (min(n, SIDE) // method.multiple * method.multiple for n in y.shape)
            known = drf if number % 2 else None
            condition = method.condition(y[:i, :j, :k], drf=known)
            for sigma in LEVELS:
                noise = torch.randn((1, 1, i, j, k), generator=generator)
                x = condition.fields[None, :1] + (0.0 if sigma == torch.inf else sigma) * noise
                with torch.inference_mode():
                    method.denoise(x, torch.tensor([sigma]), condition.fields[None])
        print(f"volume {number + 1}/{volumes}", flush=True)
    found = ActivationRanges(
        weights_sha256=model.sha256,
        scans=SCANS.format(volumes, SEED),
        layers={name: ranges(extremes) for name, extremes in seen.items()},
    )
    print(write_beside(ranges_path(weights_path(model.name)), found))


def watcher(name: str, seen: Extremes) -> Callable[[nn.Module, tuple[Tensor]], None]:
    """Return a hook that notes the least and the largest input of each channel."""

    def note(layer: nn.Module, given: tuple[Tensor]) -> None:
        seen.setdefault(name, []).append(given[0][0].flatten(1).aminmax(dim=1))

    return note


def ranges(extremes: Sequence[tuple[Tensor, Tensor]]) -> ChannelRanges:
    """Return the ranges of most scans, with four decimals, from the extremes of each."""
    leasts, mosts = (torch.stack(each) for each in zip(*extremes, strict=True))
    least, most = leasts.quantile(1 - SHARE, dim=0), mosts.quantile(SHARE, dim=0)
    low, high = ([round(float(value), 4) for value in values] for values in (least, most))
    return ChannelRanges(least=tuple(low), most=tuple(high))


def compare(model: Model, patients: int) -> None:
    """Print how the results in int8 differ from those in float32."""
    print("scan dose | PSNR dB: measured float32 int8 | organs: mean, largest change % | hot % | s")
    for n in range(patients):
        scanner = ("quadra", "vision600", "uexplorer", "discovery-mi")[n % 4]
        tracer = ("fdg", "psma", "dotatate", "fapi")[n // 4 % 4]
        scan = simulate(
            SEED + 1000 + n, scanner=scanner, tracer=tracer, extent="abdomen", voxel_mm=4.0
        )
        for drf, low in scan.lows.items():
            report(model, f"{scanner} {tracer} 1/{drf:g}", scan, low)


def report(model: Model, title: str, scan: Simulation, low: PETImage) -> None:
    """Print one line of the comparison."""
    results, seconds = [], []
    for precision in PRECISIONS:
        start = time.process_time()
        results.append(petdiff.denoise(low, model, precision=precision).image.suv)
        seconds.append(time.process_time() - start)
    before, after = results
    full = scan.full.suv
    body, peak = body_mask(full, scan.full.spacing_mm), float(full.max())
    scores = " ".join(f"{psnr(full, v, peak, body):.2f}" for v in (low.suv, before, after))
    least = MIN_ML / voxel_ml(low.spacing_mm)
    organs = (scan.labels == label for label in scan.names)
    changes = [change(before, after, organ) for organ in organs if organ.sum() >= least]
    hot = full > np.quantile(full[body], 0.999)
    print(
        f"{title} | {scores} | {np.mean(changes):+.3f} {max(changes, key=abs):+.3f} | "
        f"{change(before, after, hot):+.3f} | {seconds[0]:.1f} {seconds[1]:.1f}",
        flush=True,
    )


def change(before: np.ndarray, after: np.ndarray, region: np.ndarray) -> float:
    """Return the change of a region's mean, in percent."""
    return 100 * float(after[region].mean() / before[region].mean() - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ranges", "compare"])
    parser.add_argument("--model", default="flow3d")
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--patients", type=int, default=4)
    options = parser.parse_args()
    model = load_model(options.model)
    if options.what == "ranges":
        measure_ranges(model, options.volumes)
    else:
        compare(model, options.patients)


if __name__ == "__main__":
    main()
