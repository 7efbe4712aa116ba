"""The default model on a scan of the NEMA image-quality phantom, before and after.

python benchmarks/phantom.py SCAN [--suv-factor F]

SCAN is what `petdiff denoise` reads; where its headers do not lead to SUV, give F, on which no
figure depends. Printed are the background's coefficient of variation, how the means within the
spheres' true radii change, and how many of the twelve recoveries lie within EARL 2's bands.
"""

from __future__ import annotations

import argparse

import petdiff
from petdiff.evaluation.phantom import PhantomFigures, measure_phantom


def line(name: str, figures: PhantomFigures, before: PhantomFigures) -> str:
    """Background, change of each sphere's mean in percent, values within EARL 2."""
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
    parser.add_argument("--suv-factor", type=float, help="where the headers do not give it")
    options = parser.parse_args()
    factor = {"units": "bqml", "suv_factor": options.suv_factor} if options.suv_factor else {}
    image = petdiff.read(options.scan, **factor)
    denoised = petdiff.denoise(image, model=options.model).image
    before, after = (measure_phantom(one.suv, image.spacing_mm) for one in (image, denoised))
    print("           background  spheres' means, %, 37 … 10 mm            EARL 2")
    print(line("measured", before, before))
    print(line("denoised", after, before))


if __name__ == "__main__":
    main()
