"""Whether the default model's answer to a scan times a factor is its answer times that factor.

    python benchmarks/scale.py

One simulated scan at 1/20 of the dose, times 0.1, 2 and 10, and so that the answer's maximum should
be SUV 100, in the arithmetic that the machine has by default. Printed are the largest difference
from the answer to the scan as it is, as a share of the maximum; the largest of a bright voxel, as a
share of its own value; and how many of those are close.
"""

from __future__ import annotations

import argparse

import numpy as np

import petdiff
from petdiff.clinic.study import simulate

FACTORS = (0.1, 2.0, 10.0)
BRIGHT = 0.05  # voxels above this share of the maximum are judged by their own value
CLOSE = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=570000)
    seed = parser.parse_args().seed
    study = simulate(seed, dose_factors=[20], voxel_mm=4.0, extent="abdomen")
    low = study.lows[20]
    once = petdiff.denoise(low)
    print(f"patient {seed}, {once.record['precision']}")
    print("  factor  worst, %  worst of bright, %  close, %")
    hottest = np.unravel_index(int(once.image.suv.argmax()), low.suv.shape)
    bright = once.image.suv > BRIGHT * once.image.suv[hottest]
    for factor in (*FACTORS, 100 / once.image.suv[hottest]):
        scaled = petdiff.denoise(low.with_suv(low.suv * np.float32(factor))).image.suv / factor
        change = np.abs(scaled - once.image.suv)
        relative = change[bright] / once.image.suv[bright]
        print(
            f"{factor:8.3f}  {100 * change.max() / once.image.suv[hottest]:8.3f}  "
            f"{100 * relative.max():18.3f}  {100 * (relative < CLOSE).mean():8.2f}"
        )
    print(f"SUV 100 is answered by {factor * scaled[hottest]:.2f}")


if __name__ == "__main__":
    main()
