"""The default model on real activity with noise added, against the best Gaussian.

    python benchmarks/real_noise.py FOLDER

FOLDER has a folder a patient with `PET_image.nii.gz` (SUV) and `PET_mask.nii.gz` (a tumour), as the
validation set of the Image Biomarker Standardisation Initiative does. These scans are noisy
themselves, and a denoised scan without that noise would get a lower score. So the reference is the
scan after a Gaussian of `--smooth` mm (0: the scan as it is), a real distribution of activity with
little noise. Added is Gaussian noise as correlated as a filter of `--fwhm` mm leaves it, its
spread proportional to the root of the activity: at the body's mean activity it is each of
`--levels` of it. For each: PSNR over the body (peak: the reference's SUVmax), and the error of the
tumour's SUVpeak in percent.

The model is called twice: without the dose, and with a dose reduction factor. A thinned scan has N
times the noise power of the full one at 1/N of its dose. The factor is therefore the squared ratio
of the noise in the noisier scan and in the reference, as the model measures it; at most 200.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import petdiff
from petdiff.evaluation.baselines import FWHM_PER_SIGMA, best_gaussian, gaussian
from petdiff.evaluation.inputs import labelled_lesions
from petdiff.evaluation.metrics import psnr
from petdiff.evaluation.weighted_mask import measure_mask
from petdiff.methods.local_activity import ScanChannel, local_activity, noise_ratio
from petdiff.volume.regions import body_mask

Volume = NDArray[np.float32]


def noisier(
    image: petdiff.PETImage, body: NDArray[np.bool_], level: float, fwhm_mm: float, seed: int
) -> petdiff.PETImage:
    """Return the scan with noise added; activity below 0 stays 0."""
    white = np.random.default_rng(seed).standard_normal(image.suv.shape)
    noise = gaussian_filter(white, [fwhm_mm / FWHM_PER_SIGMA / mm for mm in image.spacing_mm])
    noise /= noise.std()
    smooth = gaussian_filter(np.maximum(image.suv, 0), 1.0)
    spread = level * np.sqrt(smooth * smooth[body].mean())
    return petdiff.PETImage((image.suv + spread * noise).astype(np.float32).clip(0), image.affine)


def noise_by_model(suv: Volume) -> float:
    """Return what the model's own measure finds, relative to the activity."""
    fields = local_activity(torch.from_numpy(np.ascontiguousarray(suv))).fields
    return float(noise_ratio(fields[ScanChannel.EXPECTED_NOISE]).median())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="flow3d")
    parser.add_argument("--smooth", type=float, default=8.0)
    parser.add_argument("--fwhm", type=float, default=5.0)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.8])
    options = parser.parse_args()
    print(
        "scan        level  1/dose   PSNR measured  Gaussian  model     with dose "
        "SUVpeak error, % (same order)"
    )
    wins = {"model": [0, 0], "model with the dose": [0, 0]}
    scans = 0
    for seed, patient in enumerate(sorted(f for f in options.folder.iterdir() if f.is_dir())):
        scan = petdiff.read(patient / "PET_image.nii.gz")
        image = petdiff.PETImage(gaussian(scan.suv, scan.spacing_mm, options.smooth), scan.affine)
        labels = np.rint(petdiff.read(patient / "PET_mask.nii.gz").suv).astype(np.int32)
        lesion = max(labelled_lesions(labels, image.spacing_mm), key=lambda one: one.volume_ml)
        own_noise = noise_by_model(image.suv)
        body, peak = body_mask(image.suv, image.spacing_mm), float(image.suv.max())
        true_peak = measure_mask(lesion, image.suv, image.spacing_mm)["suv_peak"]
        for level in options.levels:
            low = noisier(image, body, level, options.fwhm, seed)
            dose = float(np.clip((noise_by_model(low.suv) / own_noise) ** 2, 1.01, 200))
            compared = (
                low.suv,
                best_gaussian(low.suv, image.suv, image.spacing_mm, body).suv,
                petdiff.denoise(low, model=options.model).image.suv,
                petdiff.denoise(low, model=options.model, drf=dose).image.suv,
            )
            decibel = [psnr(image.suv, suv, peak, body) for suv in compared]
            peaks = [measure_mask(lesion, s, image.spacing_mm)["suv_peak"] for s in compared]
            errors = [100 * (shown / true_peak - 1) for shown in peaks]
            scans += 1
            for n, won in enumerate(wins.values(), start=2):
                won[0] += decibel[n] >= decibel[1]
                won[1] += abs(errors[n]) <= abs(errors[1])
            print(
                f"{patient.name:<10}  {level:<5g}  {dose:6.1f}  "
                + "  ".join(f"{value:8.2f}" for value in decibel)
                + "      "
                + "  ".join(f"{value:+6.1f}" for value in errors),
                flush=True,
            )
    for name, (decibels, peaks_won) in wins.items():
        print(
            f"{name} at least as good as the best Gaussian: PSNR {decibels}, "
            f"SUVpeak {peaks_won} of {scans}"
        )


if __name__ == "__main__":
    main()
