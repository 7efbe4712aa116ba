"""The default model on simulated patients without part in training, against the best filters.

    petdiff simulate -o torsos --patients 10 --extent torso --voxel-size 3.3 --seed 100
    python benchmarks/quality.py torsos --dose 20

For every scan: PSNR against the full-dose scan over the body (peak: its SUVmax), measured, after
the best Gaussian (its width chosen knowing the full-dose scan), after the model and, if asked for,
after the best non-local means, which takes minutes a scan; and the activity of each region of at
least 20 ml, after the model against full dose.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import petdiff
from petdiff.evaluation.baselines import best_gaussian, best_non_local_means
from petdiff.evaluation.metrics import psnr
from petdiff.volume.regions import body_mask, voxel_ml

MIN_ML = 20.0


def judge(
    folder: Path, dose: str, model: str, steps: int | None, non_local_means: bool
) -> dict[str, object]:
    """Return the figures of one patient's folder."""
    full = petdiff.read(folder / "full.nii.gz")
    low = petdiff.read(folder / f"low_drf{dose}.nii.gz")
    body = body_mask(full.suv, full.spacing_mm)
    denoised = petdiff.denoise(low, model, steps=steps).image.suv
    scans = {
        "measured": low.suv,
        "gaussian": best_gaussian(low.suv, full.suv, full.spacing_mm, body).suv,
        "model": denoised,
    }
    if non_local_means:
        scans["non-local means"] = best_non_local_means(low.suv, full.suv, body).suv
    peak = float(full.suv.max())
    decibel = {name: psnr(full.suv, suv, peak, body) for name, suv in scans.items()}
    return {"psnr_db": decibel, "bias_percent": regional_bias(folder, full, denoised)}


def regional_bias(folder: Path, full: petdiff.PETImage, denoised: np.ndarray) -> dict[str, float]:
    """Activity of each region after the model, over that of the full-dose scan, in percent."""
    names = json.loads((folder / "labels.json").read_text())
    labels = np.rint(petdiff.read(folder / "labels.nii.gz").suv).astype(int)
    least = MIN_ML / voxel_ml(full.spacing_mm)
    bias = {}
    for number, name in names.items():
        region = labels == int(number)
        if region.sum() >= least:
            bias[name] = 100 * float(denoised[region].mean() / full.suv[region].mean() - 1)
    return bias


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--dose", default="20")
    parser.add_argument("--model", default="flow3d")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--non-local-means", action="store_true")
    options = parser.parse_args()
    folders = sorted(f for f in options.cohort.iterdir() if (f / "full.nii.gz").is_file())
    rows = []
    for folder in folders:
        row = judge(folder, options.dose, options.model, options.steps, options.non_local_means)
        rows.append(row)
        decibel = "  ".join(f"{name} {value:6.2f}" for name, value in row["psnr_db"].items())
        print(f"{folder.name}  {decibel}", flush=True)
    table = {name: np.array([r["psnr_db"][name] for r in rows]) for name in rows[0]["psnr_db"]}
    print("mean          ", "  ".join(f"{name} {v.mean():6.2f}" for name, v in table.items()))
    for rival in table.keys() - {"measured", "model"}:
        gain = table["model"] - table[rival]
        print(f"over {rival}: {gain.mean():+.2f} dB, better on {(gain > 0).sum()} of {len(gain)}")
    for region in sorted({name for row in rows for name in row["bias_percent"]}):
        values = np.array([r["bias_percent"][region] for r in rows if region in r["bias_percent"]])
        print(
            f"{region:<28} {values.mean():+6.2f} %  (worst {values[np.abs(values).argmax()]:+.2f})"
        )


if __name__ == "__main__":
    main()
