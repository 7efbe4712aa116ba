"""Measure what eight samples cost over one: calls of the network, their time, peak memory.

    python benchmarks/samples_cost.py [--shape 128,96,128]

flow3d on noise of a body's activity, on the CPU. Each number of samples runs in a process of its
own, whose peak memory is that of the whole program less that before denoising. Seconds are those of
the processor, in all and in the calls of the network.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np


def measure(samples: int, steps: int, shape: tuple[int, int, int]) -> dict[str, float]:
    """Denoise in this process; return calls of the network, seconds and bytes."""
    import petdiff
    from petdiff.image import PETImage
    from petdiff.methods.flow3d import Flow3D
    from petdiff.methods.model import load_model

    suv = np.random.default_rng(0).gamma(8, 1 / 4, shape).astype(np.float32)
    scan, model = PETImage(suv, np.diag([4.0, 4, 4, 1])), load_model("flow3d")
    calls: list[float] = []  # seconds of each
    slab_by_slab = Flow3D.slab_by_slab

    def timed(self, *arguments):  # type: ignore[no-untyped-def]
        calls.append(0.0)
        slabs = slab_by_slab(self, *arguments)
        while True:
            start = time.process_time()
            slab = next(slabs, None)
            calls[-1] += time.process_time() - start
            if slab is None:
                return
            yield slab

    Flow3D.slab_by_slab = timed  # type: ignore[method-assign]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    petdiff.denoise(scan, model, steps=1)  # what happens once in a process
    calls.clear()
    start = time.process_time()
    petdiff.denoise(scan, model, samples=samples, steps=steps)
    found = {"seconds": time.process_time() - start, "calls": len(calls), "in_calls": sum(calls)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "before_kib": before, "peak_kib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="128,96,128")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    i, j, k = map(int, options.shape.split(","))
    if options.samples:
        print(json.dumps(measure(options.samples, options.steps, (i, j, k))))
        return
    print(f"{i} × {j} × {k} voxels, {options.steps} steps")
    one = 0.0
    for samples in (1, 8):
        command = [
            sys.executable, __file__, "--samples", str(samples), "--shape", options.shape,
            "--steps", str(options.steps),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        own = (found["peak_kib"] - found["before_kib"]) / 1024
        one = one or own
        print(
            f"{samples} sample(s): {found['calls']} calls, at most "
            f"{1 + samples * (options.steps - 1)}; {found['seconds']:.1f} s, "
            f"{found['in_calls']:.1f} s of it in the calls; "
            f"peak {found['peak_kib'] / 1024:.0f} MiB, of which denoising took {own:.0f} MiB "
            f"({own / one:.2f} times one sample's)"
        )


if __name__ == "__main__":
    main()
