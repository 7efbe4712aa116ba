"""Compare flow3d with other filters on one scan: processor seconds and PSNR side by side.

    OMP_NUM_THREADS=1 python benchmarks/alternatives.py [--scanner mct-flow] [--dose 20]

The scan is of a simulated patient that no training draws. Gaussian filter, non-local means and BM4D
(if the package bm4d is installed: pip install bm4d, whose licence allows non-commercial use alone)
are applied at the strength that comes closest to the full-dose scan, which no user can know; their
seconds are those of the one run at that strength. BM4D filters the root of SUV, as non-local means
do, at multiples of its measured noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

import petdiff
from petdiff.evaluation.baselines import (
    best_gaussian,
    best_non_local_means,
    gaussian,
    root_and_noise,
)
from petdiff.evaluation.metrics import psnr
from petdiff.inference.options import Precision
from petdiff.simulation.study import simulate
from petdiff.volume.regions import body_mask

SEED = 892_000
STRENGTHS = (0.8, 1.2, 1.8, 2.7, 4.0)
PRECISIONS: Sequence[Precision] = ("float32", "bfloat16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scanner", default="mct-flow")
    parser.add_argument("--tracer", default="fdg")
    parser.add_argument("--extent", default="torso")
    parser.add_argument("--voxel-size", type=float, default=4.0)
    parser.add_argument("--dose", type=float, default=20.0)
    options = parser.parse_args()
    scan = simulate(
        SEED, scanner=options.scanner, tracer=options.tracer, extent=options.extent,
        voxel_mm=options.voxel_size, dose_factors=(options.dose,),
    )  # fmt: skip
    full, low = scan.full.suv, scan.lows[options.dose]
    body, peak = body_mask(full, low.spacing_mm), float(full.max())
    print(f"{options.scanner} {options.tracer} 1/{options.dose:g}, {full.shape} voxels")

    def show(name: str, work: Callable[[], np.ndarray]) -> None:
        start = time.process_time()
        result = work()
        seconds = time.process_time() - start
        print(f"{name:24} {seconds:8.1f} s  {psnr(full, result, peak, body):.2f} dB", flush=True)

    show("measured", lambda: low.suv)
    width_mm = best_gaussian(low.suv, full, low.spacing_mm, body).strength
    show(f"Gaussian of {width_mm:.1f} mm", lambda: gaussian(low.suv, low.spacing_mm, width_mm))
    best = best_non_local_means(low.suv, full, body, STRENGTHS).strength
    show("non-local means", lambda: best_non_local_means(low.suv, full, body, (best,)).suv)
    try:
        from bm4d import bm4d
    except ImportError:
        print("bm4d is not installed")
    else:
        root, noise = root_and_noise(low.suv, body)

        def filtered(strength: float) -> np.ndarray:
            return np.square(bm4d(root, strength * noise)).astype(np.float32)

        nearest = max(STRENGTHS, key=lambda s: psnr(full, filtered(s), peak, body))
        show(f"BM4D at {nearest:g} noise", lambda: filtered(nearest))
    model = petdiff.load_model("flow3d")
    for precision in PRECISIONS:
        name = f"flow3d, {precision}"
        show(name, lambda p=precision: petdiff.denoise(low, model, precision=p).image.suv)


if __name__ == "__main__":
    main()
