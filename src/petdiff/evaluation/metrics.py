"""How close a scan is to a reference: each metric with its peak, clip and mask said aloud.

Numbers of different papers differ in just these, so every convention has a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.evaluation.activity import relative_change
from petdiff.evaluation.regions import Spacing

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

CLIP_SUV = 16.0  # of the published code
_SSIM_WINDOW = 7  # voxels, scikit-image's own
_NOISE_VOXEL_MM = 1.65


def compare(
    reference: Volume, test: Volume, body: Mask, *, ssim_range: float = CLIP_SUV
) -> dict[str, Any]:
    """Every whole-image metric of a scan in SUV against a reference on its grid; JSON-able.

    psnr_db             peak: the reference's maximum; over the body, and the whole volume
    psnr_clip16_db      both clipped at SUV 16, peak 16
    psnr_published_db   both clipped at SUV 16, peak the maximum before clipping
    ssim                scikit-image in 3-D, data range 16
    nrmse, nmae         over the body, relative to the reference's mean there
    """
    whole = np.ones(reference.shape, dtype=bool)
    top = float(reference.max())
    cut_reference, cut_test = (np.minimum(image, CLIP_SUV) for image in (reference, test))
    similarity = ssim_map(reference, test, ssim_range)
    return {
        "psnr_db": psnr(reference, test, top, body),
        "psnr_whole_db": psnr(reference, test, top, whole),
        "psnr_clip16_db": psnr(cut_reference, cut_test, CLIP_SUV, body),
        "psnr_clip16_whole_db": psnr(cut_reference, cut_test, CLIP_SUV, whole),
        "psnr_published_db": psnr(cut_reference, cut_test, top, body),
        "psnr_published_whole_db": psnr(cut_reference, cut_test, top, whole),
        "ssim": None if similarity is None else float(similarity[body].mean()),
        "ssim_whole": None if similarity is None else float(similarity.mean()),
        "nrmse": nrmse(reference, test, body),
        "nmae": nmae(reference, test, body),
        "activity_change": relative_change(_total(reference, body), _total(test, body)),
    }


def psnr(reference: Volume, test: Volume, peak: float, mask: Mask) -> float | None:
    """10·log10(peak² / mean squared error) in dB over a mask; None for equal images."""
    error = _mean_square(reference, test, mask)
    return float(10 * np.log10(peak**2 / error)) if error > 0 else None


def nrmse(reference: Volume, test: Volume, mask: Mask) -> float:
    """Root mean squared error over a mask, relative to the reference's mean there."""
    return float(np.sqrt(_mean_square(reference, test, mask)) / _mean(reference, mask))


def nmae(reference: Volume, test: Volume, mask: Mask) -> float:
    """Mean absolute error over a mask, relative to the reference's mean there."""
    error = np.abs(np.subtract(test[mask], reference[mask], dtype=np.float64)).mean()
    return float(error / _mean(reference, mask))


def ssim_map(reference: Volume, test: Volume, data_range: float) -> Volume | None:
    """Structural similarity (Wang 2004) at each voxel, as scikit-image computes it in 3-D.

    None where the scan is thinner than the window of 7 voxels.
    """
    from skimage.metrics import structural_similarity

    if min(reference.shape) < _SSIM_WINDOW:
        return None
    _, similarity = structural_similarity(
        reference, test, win_size=_SSIM_WINDOW, data_range=data_range, full=True
    )
    return np.asarray(similarity, dtype=np.float32)


def noise_level(suv: Volume, spacing_mm: Spacing) -> float | None:
    """How grainy a scan is: Σ|v - G∗v| / #(G∗v > 0.1), v = log1p(SUV), at 1.65 mm.

    G is a Gaussian of σ = 2 voxels. None where no voxel is above 0.1.
    """
    from scipy.ndimage import gaussian_filter

    v = np.log1p(np.maximum(_at_noise_voxels(suv, spacing_mm), 0))
    smooth = gaussian_filter(v, 2.0)
    count = int((smooth > 0.1).sum())
    return float(np.abs(v - smooth).sum(dtype=np.float64) / count) if count else None


def region_bias(
    reference: Volume, test: Volume, labels: NDArray[np.integer[Any]], names: Mapping[int, str]
) -> dict[str, dict[str, float | None]]:
    """Mean SUV of each labelled region in both images, and its relative change; label 0 is none."""
    size = int(labels.max()) + 1
    flat = labels.ravel()
    count = np.bincount(flat, minlength=size)
    sums = [np.bincount(flat, image.ravel(), size) for image in (reference, test)]
    regions = {}
    for label in np.flatnonzero(count[1:]) + 1:
        before, after = (float(total[label] / count[label]) for total in sums)
        regions[names.get(int(label), f"label {label}")] = {
            "voxels": int(count[label]),
            "reference_suv": before,
            "test_suv": after,
            "bias": relative_change(before, after),
        }
    return regions


def _at_noise_voxels(suv: Volume, spacing_mm: Spacing) -> Volume:
    if np.allclose(spacing_mm, _NOISE_VOXEL_MM, rtol=0.02):
        return suv
    import torch

    from petdiff.inference.grid import resample

    affine = np.diag([*spacing_mm, 1.0])
    resampled, _ = resample(torch.from_numpy(suv.copy()), affine, (_NOISE_VOXEL_MM,) * 3)
    return np.asarray(resampled.numpy())


def _mean_square(reference: Volume, test: Volume, mask: Mask) -> float:
    error = np.subtract(test[mask], reference[mask], dtype=np.float64)
    return float(np.dot(error, error) / error.size) if error.size else 0.0


def _mean(image: Volume, mask: Mask) -> float:
    return float(image[mask].mean(dtype=np.float64))


def _total(image: Volume, mask: Mask) -> float:
    return float(image[mask].sum(dtype=np.float64))
