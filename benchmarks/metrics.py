"""Seconds that every metric of one total-body pair takes, by step, on this machine.

    OMP_NUM_THREADS=2 python benchmarks/metrics.py [--shape 192,288,520]

Makes a body-shaped scan of 1.65 mm voxels, a noisy one, 100 organs and 20 lesions, and prints wall
and processor seconds of each step: where they differ from wall · cores, the machine was busy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from speed import body_scan

from petdiff.evaluation.baselines import best_gaussian
from petdiff.evaluation.metrics import compare
from petdiff.evaluation.protocol import measure_scan, prepare
from petdiff.evaluation.weighted_mask import sphere_mask
from petdiff.volume.noise import noise_level

T = TypeVar("T")
MM = (1.65, 1.65, 1.65)


def timed(name: str, work: Callable[[], T]) -> T:
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name:<28} {wall:6.2f} s wall {processor:6.2f} s processor", flush=True)
    return result


def organs(shape: tuple[int, ...]) -> np.ndarray:
    """Blocks of a body-shaped volume, a hundred of them; one is the liver."""
    i, j, k = (np.arange(n) * parts // n for n, parts in zip(shape, (4, 5, 5), strict=True))
    return (1 + i[:, None, None] + 4 * j[None, :, None] + 20 * k[None, None, :]).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="192,288,520")
    i, j, k = map(int, parser.parse_args().shape.split(","))
    rng = np.random.default_rng(0)
    full = body_scan((i, j, k))
    full[i // 2 : i // 2 + 10, j // 2 : j // 2 + 10, k // 2 : k // 2 + 10] += 20
    grain = rng.standard_normal(full.shape, dtype=np.float32)
    low = full + np.float32(0.3) * np.sqrt(np.maximum(full, 0)) * grain
    affine = np.diag([*MM, 1.0])
    low_mm, high_mm = 0.3 * np.array([i, j, k]) * MM, 0.7 * np.array([i, j, k]) * MM
    centres = rng.uniform(low_mm, high_mm, (20, 3))
    lesions = [
        sphere_mask(f"lesion {n}", centre, rng.uniform(4, 15), full.shape, affine)
        for n, centre in enumerate(centres, start=1)
    ]
    names = {n: f"organ {n}" for n in range(1, 101)} | {50: "liver"}
    start = time.perf_counter()
    case = timed(
        "body, organs, reference", lambda: prepare(full, MM, organs(full.shape), names, lesions)
    )
    rows = timed("all metrics of the pair", lambda: measure_scan(case, low))
    both = time.perf_counter() - start
    print(f"{'both together':<28} {both:6.2f} s wall, {len(rows)} figures")
    timed("  of it: PSNR, SSIM, errors", lambda: compare(full, low, case.body))
    timed("  of it: noise level", lambda: noise_level(low, MM))
    timed("best Gaussian, beside it", lambda: best_gaussian(low, full, MM, case.body))


if __name__ == "__main__":
    main()
