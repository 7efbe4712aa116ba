"""Measure what eight samples cost over one: calls of the network, peak memory of the process.

    python benchmarks/samples_cost.py [--shape 128,96,128]

flow3d on noise of a body's activity, 2 steps, on the CPU. Each number of samples runs in a process
of its own, whose peak memory is that of the whole program less that before denoising.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import numpy as np

STEPS = 2


def measure(samples: int, shape: tuple[int, int, int]) -> dict[str, float]:
    """Denoise in this process; return calls of the network and bytes."""
    import petdiff
    from petdiff.image import PETImage
    from petdiff.methods.flow3d import Flow3D
    from petdiff.methods.model import load_model

    suv = np.random.default_rng(0).gamma(8, 1 / 4, shape).astype(np.float32)
    scan, model = PETImage(suv, np.diag([4.0, 4, 4, 1])), load_model("flow3d")
    calls, ask = [0], Flow3D.slab_by_slab

    def counted(self, *arguments):  # type: ignore[no-untyped-def]
        calls[0] += 1
        return ask(self, *arguments)

    Flow3D.slab_by_slab = counted  # type: ignore[method-assign]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    petdiff.denoise(scan, model, samples=samples, steps=STEPS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"calls": calls[0], "before_kib": before, "peak_kib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="128,96,128")
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    i, j, k = map(int, options.shape.split(","))
    if options.samples:
        print(json.dumps(measure(options.samples, (i, j, k))))
        return
    print(f"{i} × {j} × {k} voxels, {STEPS} steps")
    one = 0.0
    for samples in (1, 8):
        command = [sys.executable, __file__, "--samples", str(samples), "--shape", options.shape]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        own = (found["peak_kib"] - found["before_kib"]) / 1024
        one = one or own
        print(
            f"{samples} sample(s): {found['calls']} calls, at most {1 + samples * (STEPS - 1)}; "
            f"peak {found['peak_kib'] / 1024:.0f} MiB, of which denoising took {own:.0f} MiB "
            f"({own / one:.2f} times one sample's)"
        )


if __name__ == "__main__":
    main()
