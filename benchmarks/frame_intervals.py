"""Do the intervals of a dynamic scan's frames hold? On the simulated scan of benchmarks/dynamic.py.

    python benchmarks/frame_intervals.py [SEED]

The calibration is of static scans at a late time. For each frame: the share of the body's voxels,
and of the means of organs and of spheres of 10 mm radius in the body, that the same frame with 100
times its counts has within the 90 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from dynamic import Study, regions, simulated

import petdiff
from petdiff.image import PETImage
from petdiff.measurement.region import Region, ball_region, mask_region
from petdiff.volume.regions import body_mask

LEVEL, SPHERES, RADIUS_MM = 0.9, 60, 10.0


def held(
    measured: PETImage, denoised: PETImage, reference: PETImage, chosen: Sequence[Region]
) -> str:
    """Return in how many regions the reference's mean is within the interval, as text."""
    calibration = petdiff.calibration_of("flow3d")
    found = petdiff.measure(measured, denoised, chosen, calibration=calibration, level=LEVEL)
    truth = petdiff.measure(reference, reference, chosen)
    pairs = [
        (one.figure("mean"), other.figure("mean").denoised or 0.0)
        for one, other in zip(found.regions, truth.regions, strict=True)
    ]
    known = [(one.lower, mean, one.upper) for one, mean in pairs if one.lower is not None]
    hits = sum(low <= mean <= high for low, mean, high in known if high is not None)
    return f"{hits:4d} of {len(known):3d}"


def places(study: Study) -> tuple[list[Region], list[Region]]:
    """Return the organs, and spheres about voxels of the body that were drawn at random."""
    first, mean = study.reference.first, study.reference.mean()
    organs = [
        mask_region(region, first, name=name, kind="organ")
        for name, region in regions(study, within=True)
    ]
    body = np.argwhere(body_mask(mean.values, mean.spacing_mm))
    drawn = body[np.random.default_rng(0).choice(len(body), SPHERES, replace=False)]
    centres = [(first.affine @ [*voxel, 1])[:3].tolist() for voxel in drawn]
    return organs, [ball_region(centre, RADIUS_MM, first) for centre in centres]


def main() -> None:
    study = simulated(int(sys.argv[1]) if sys.argv[1:] else 0, "thorax", "vision600", 5.0)
    mean = study.reference.mean()
    body = body_mask(mean.values, mean.spacing_mm)
    organs, spheres = places(study)
    calibration = petdiff.calibration_of("flow3d")
    shares = []
    print("frame  seconds  voxels   organs        spheres")
    for n, (measured, reference) in enumerate(zip(study.measured, study.reference, strict=True)):
        denoised = petdiff.denoise(measured).image
        lower, upper = petdiff.voxel_intervals(measured, denoised, calibration, LEVEL)
        inside = (lower.values <= reference.values) & (reference.values <= upper.values)
        shares.append(float(inside[body].mean()))
        scans = measured, denoised, reference
        print(
            f"{n + 1:5d}  {study.measured.timings[n].duration_s:7.0f}  {shares[-1]:6.1%}  "
            f"{held(*scans, organs)}  {held(*scans, spheres)}",
            flush=True,
        )
    print(f"voxels, all frames: {np.mean(shares):.1%}, {min(shares):.1%} to {max(shares):.1%}")


if __name__ == "__main__":
    main()
