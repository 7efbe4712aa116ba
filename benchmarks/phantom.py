"""The default model on a scan of the NEMA image-quality phantom, before and after.

python benchmarks/phantom.py SCAN

SCAN is what `petdiff denoise` reads, in any unit. Printed are the background's coefficient of
variation, the change of the means within the spheres' true radii, and how many of the twelve
recoveries lie within EARL 2's bands.
"""

from __future__ import annotations

import argparse

import petdiff
from petdiff.evaluation.phantom import PhantomFigures, measure_phantom


def line(name: str, figures: PhantomFigures, before: PhantomFigures) -> str:
    """Return background, change of each sphere's mean in percent, values within EARL 2."""
    changes = " ".join(
        f"{100 * (sphere.mean / was.mean - 1):+5.1f}"
        for sphere, was in zip(figures.spheres, before.spheres, strict=True)
    )
    within = sum(sum(sphere.earl[2].values()) for sphere in figures.spheres)
    return f"{name:<9}  {figures.background_cov:10.3f}  {changes}  {within:2d} of 12"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan")
    parser.add_argument("--model", default="flow3d")
    options = parser.parse_args()
    image = petdiff.read(options.scan)
    denoised = petdiff.denoise(image, model=options.model).image
    before, after = (measure_phantom(one.values, image.spacing_mm) for one in (image, denoised))
    print("           background  spheres' means, %, 37 … 10 mm            EARL 2")
    print(line("measured", before, before))
    print(line("denoised", after, before))


if __name__ == "__main__":
    main()
