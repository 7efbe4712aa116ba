"""The default on a GPU: how far its answer is from the CPU's, seconds and memory.

    python benchmarks/gpu.py [--device cuda] [--shapes 96,96,96 192,288,520]

Each body-shaped scan of 1.65 mm voxels is denoised on the CPU in float32, then on the device in
float32 and in bfloat16: once to warm up, then three times. Printed are the largest and the root
mean square difference from the CPU's answer, as a share of its maximum; the seconds of the fastest
run; those of eight samples; and the most memory that tensors took on the device.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from speed import body_scan

import petdiff
from petdiff.device import GIB, resolve_device
from petdiff.image import PETImage
from petdiff.inference.options import Precision
from petdiff.methods.model import Model

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
REPEATS = 3


def measure(
    scan: PETImage,
    model: Model,
    device: torch.device,
    precision: Precision,
    *,
    samples: int = 1,
    runs: int = 1,
) -> tuple[np.ndarray, float, float]:
    """Return the denoised scan, the seconds of the fastest run, and the peak memory in GiB."""
    seconds = []
    for _ in range(runs):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        # The answer is copied to the CPU, so that the clock stops when the device is done.
        result = petdiff.denoise(
            scan, model, device=str(device), precision=precision, samples=samples
        )
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else float("nan")
    return result.image.values, min(seconds), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", default=["96,96,96", "192,288,520"])
    options = parser.parse_args()
    device, model = resolve_device(options.device), petdiff.load_model("flow3d")
    print("| voxels | precision | largest difference, rms | s | s, 8 samples | memory, GiB |")
    print("|---|---|---|---|---|---|")
    for text in options.shapes:
        i, j, k = map(int, text.split(","))
        scan = PETImage(body_scan((i, j, k)), np.diag([1.65, 1.65, 1.65, 1]))
        on_cpu = petdiff.denoise(scan, model, device="cpu", precision="float32").image.values
        for precision in PRECISIONS:
            values, seconds, peak = measure(scan, model, device, precision, runs=1 + REPEATS)
            _, of_samples, most = measure(scan, model, device, precision, samples=8)
            difference = (values - on_cpu) / on_cpu.max()
            rms = np.sqrt(np.mean(np.square(difference)))
            print(
                f"| {i} × {j} × {k} | {precision} | {np.abs(difference).max():.1e}, {rms:.1e} "
                f"| {seconds:.2f} | {of_samples:.1f} | {max(peak, most):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
