"""Give activity back to a result where the audit says that the data show more or less of it.

python benchmarks/give_back.py OUT --first 26 --count 25

OUT is that of `benchmarks/audit.py patients`. At each place where measured and denoised scan differ
by at least MIN_Z standard deviations, a Gaussian of the place's scale is added to the result, as
high as makes its contrast the measured one, times 1 − (MIN_Z / z)²: the share of z² that exceeds
what is allowed (the non-negative garrote). Lesions are compared with the full-dose scan. A place is
confirmed if the full-dose scan's contrast there is nearer to the measured than to the denoised one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from audit import DOSES
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.evaluation.metrics import psnr
from petdiff.evaluation.weighted_mask import WeightedMask, measure_mask, sphere_mask
from petdiff.image import PETImage
from petdiff.uncertainty.audit import compare
from petdiff.uncertainty.audit.findings import Compared, Peak, peaks
from petdiff.uncertainty.audit.scales import SIGMA_PER_RADIUS, WorkingGrid, at_scales
from petdiff.volume.regions import Spacing, body_mask

MIN_Z = (3.5, 4.0, 4.5, 5.0)
# Contrast of a Gaussian seen through itself, less that through one of twice the width.
HEIGHT = 2**-1.5 - 5**-1.5
FIGURES = ("suv_mean", "suv_peak")
Volume = NDArray[np.float32]


def differences(measured: Volume, denoised: Volume, image: PETImage) -> list[Compared]:
    """Return the two compared at each scale; voxels are 5 mm or more, as the audit's are."""
    grid = WorkingGrid.of(image.shape, image.affine)
    assert grid.shape == image.shape
    body = compare.without_faces(body_mask(measured, grid.spacing_mm), grid.spacing_mm)
    pairs = zip(*(at_scales(v, grid.spacing_mm) for v in (measured, denoised)), strict=True)
    return compare.compared_scales(list(pairs), body, grid)


def given_back(
    denoised: Volume, scales: list[Compared], found: list[Peak], least_z: float, spacing_mm: Spacing
) -> Volume:
    """Return the result with activity given back at the places found."""
    added = np.zeros(denoised.shape)
    for peak in found:
        scale = scales[peak.scale]
        sigma_mm = scale.measured.radius_mm * SIGMA_PER_RADIUS
        missing = float((scale.measured.contrast - scale.denoised.contrast)[peak.at])
        bells = [
            np.exp(-((((np.arange(n) - at) * size) / sigma_mm) ** 2) / 2)
            for n, at, size in zip(denoised.shape, peak.at, spacing_mm, strict=True)
        ]
        height = (1 - (least_z / peak.z) ** 2) * missing / HEIGHT
        added += height * np.einsum("i,j,k->ijk", *bells)
    return np.maximum(denoised + added, np.minimum(denoised, 0)).astype(np.float32)


def confirmed(scales: list[Compared], peak: Peak, full: Volume, spacing_mm: Spacing) -> bool:
    """Say whether the full-dose scan is nearer to the measured scan at a place."""
    of_full = list(at_scales(full, spacing_mm))[peak.scale].contrast[peak.at]
    scale = scales[peak.scale]
    return bool(
        abs(of_full - scale.measured.contrast[peak.at])
        < abs(of_full - scale.denoised.contrast[peak.at])
    )


def rows_of(path: Path) -> Iterator[dict[str, object]]:
    """Yield a row for each scan and threshold; no threshold is the result as it is."""
    with np.load(path) as scans:
        affine = np.asarray(scans["affine"], dtype=np.float64)
        for drf in DOSES:
            for which in "wo":
                y, x, full = (scans[f"{n}_{which}"] for n in (f"low{drf}", f"den{drf}", "full"))
                image = PETImage(full, affine)
                lesions = list(_inside(scans["les"], image)) if which == "w" else []
                body, scales = body_mask(full, image.spacing_mm), differences(y, x, image)
                for least_z in (None, *MIN_Z):
                    found = peaks(scales, least_z, image.spacing_mm) if least_z else []
                    new = x
                    if least_z:
                        new = given_back(x, scales, found, least_z, image.spacing_mm)
                    right = [confirmed(scales, one, full, image.spacing_mm) for one in found]
                    yield {
                        "patient": path.stem, "drf": drf, "lesions": which == "w",
                        "least_z": least_z, "psnr": psnr(full, new, float(full.max()), body),
                        "places": len(found), "confirmed": sum(right),
                        **_biases(lesions, new, full, image.spacing_mm),
                    }  # fmt: skip


def _inside(given: NDArray[np.floating], image: PETImage) -> Iterator[WeightedMask]:
    for n, (*centre, radius) in enumerate(given.tolist()):
        try:
            yield sphere_mask(f"lesion {n}", centre, radius, image.shape, image.affine)
        except InputRefused:  # not in the field
            continue


def _biases(
    lesions: list[WeightedMask], new: Volume, full: Volume, spacing_mm: Spacing
) -> dict[str, list[float]]:
    both = [
        [measure_mask(one, scan, spacing_mm, contour=False) for scan in (new, full)]
        for one in lesions
    ]
    return {name: [(a[name] or 0) / (b[name] or 1) - 1 for a, b in both] for name in FIGURES}


def report(rows: list[dict[str, object]]) -> None:
    """Print a table."""
    print("| dose | z from | places per scan | confirmed | PSNR, dB | SUVmean | SUVpeak |")
    print("|---|---|---|---|---|---|---|")
    for drf in DOSES:
        plain = {
            (r["patient"], r["lesions"]): r for r in rows if r["drf"] == drf and not r["least_z"]
        }
        for least_z in (None, *MIN_Z):
            own = [r for r in rows if r["drf"] == drf and r["least_z"] == least_z]
            gain = np.mean([r["psnr"] - plain[r["patient"], r["lesions"]]["psnr"] for r in own])
            places, right = (sum(int(r[n]) for r in own) for n in ("places", "confirmed"))
            cells = []
            for name in FIGURES:
                bias = 100 * np.concatenate([r[name] for r in own])
                cells.append(f"{bias.mean():+.1f} %, absolute {np.abs(bias).mean():.1f} %")
            print(
                f"| 1/{drf} | {least_z or ''} | {places / len(own):.2f} | "
                f"{right / places if places else 1:.0%} | {gain:+.3f} | {' | '.join(cells)} |"
            )
    print(f"{len(rows)} rows, {sum(len(r['suv_mean']) for r in rows if not r['least_z'])} lesions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=26)
    parser.add_argument("--count", type=int, default=25)
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []
    for index in range(asked.first, asked.first + asked.count):
        path, kept = asked.out / f"{index:04d}.npz", asked.out / f"{index:04d}.given.json"
        if not path.exists():
            continue
        if not kept.exists():
            kept.write_text(json.dumps(list(rows_of(path))))
            print(kept, flush=True)
        rows += json.loads(kept.read_text())
    report(rows)


if __name__ == "__main__":
    main()
