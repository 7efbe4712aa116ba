"""Whether the denoised scan is multiplied by the factor by which the measured scan is multiplied.

    python benchmarks/scale.py

One simulated scan at 1/20 of the dose, times 0.1, 2 and 10, and so that the denoised maximum should
be SUV 100, in the arithmetic that the machine has by default. Printed are the largest difference
from the result without a factor, as a share of the maximum; the largest of a bright voxel, as a
share of its own value; how many of those are close; and the hottest voxel.
"""

from __future__ import annotations

import argparse

import numpy as np

import petdiff

FACTORS = (0.1, 2.0, 10.0)
BRIGHT = 0.05  # voxels above this share of the maximum are judged by their own value
CLOSE = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=570000)
    seed = parser.parse_args().seed
    study = petdiff.simulate(seed, dose_factors=[20], voxel_mm=4.0, extent="abdomen")
    low = study.lows[20]
    result = petdiff.denoise(low)
    once = result.image.suv
    hottest = once.argmax()
    maximum = once.flat[hottest]
    bright = once > BRIGHT * maximum
    print(f"patient {seed}, {result.record.precision}")
    print("  factor  worst, %  worst of bright, %  close, %  SUVmax, and as it should be")
    for factor in (*FACTORS, 100 / maximum):
        scaled = petdiff.denoise(low.with_values(low.suv * np.float32(factor))).image.suv
        change = np.abs(scaled / factor - once)
        relative = change[bright] / once[bright]
        print(
            f"{factor:8.3f}  {100 * change.max() / maximum:8.3f}  {100 * relative.max():18.3f}  "
            f"{100 * (relative < CLOSE).mean():8.2f}  "
            f"{scaled.flat[hottest]:.2f} {factor * maximum:.2f}"
        )


if __name__ == "__main__":
    main()
