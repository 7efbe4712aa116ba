"""Image metrics of a scan against a reference: PSNR, SSIM, NRMSE, NMAE, activity, gradient.

Papers differ in peak, clipping and mask, so each combination is a metric with its own name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petdiff.volume.activity import relative_change
from petdiff.volume.plane_ranges import map_plane_ranges
from petdiff.volume.regions import Mask, Volume
from petdiff.volume.spans import Span

Sums = NDArray[np.float64]

CLIP_SUV = 16.0  # of the published code
_SSIM_WINDOW = 7  # voxels, scikit-image's default
_SSIM_REACH = _SSIM_WINDOW // 2


def compare(reference: Volume, test: Volume, body: Mask) -> dict[str, float | None]:
    """Measure a scan in SUV against a reference on its grid, over the whole image.

    psnr_db             peak: the reference's maximum; psnr_whole_db: over the whole volume
    psnr_clip16_db      both clipped to SUV 0…16, peak 16
    psnr_published_db   both clipped to SUV 0…16, peak the reference's maximum before clipping
    nrmse, nmae         relative to the reference's mean over the same voxels
    ssim                mean over the body of scikit-image's map in 3-D, data range 16
    ssim_whole          scikit-image's result, without 3 voxels at each edge
    ssim_published_whole  the same, both clipped to SUV 0…16
    activity_change     relative change of the body's summed SUV
    gradient_ratio      mean magnitude of the gradient over the body, over that of the reference:
                        below 1 where the test is blurred, raised by noise

    A value is None if it does not exist: PSNR of equal scans, SSIM of a thin scan, NRMSE and NMAE
    if the reference's mean is not above 0, a ratio to a gradient of 0. The sums are computed in
    ranges of planes.
    """
    planes = reference.shape[2]
    top = float(reference.max())
    parts = map_plane_ranges(lambda part: _partial_errors(part, reference, test, body), planes)
    errors = np.sum(parts, axis=0)
    found: dict[str, float | None] = {}
    for end, sums in zip(("", "_whole"), errors, strict=True):
        voxels, total, _, squares, absolute, clipped_squares = sums.tolist()
        found[f"psnr{end}_db"] = _decibel(top, squares / voxels)
        found[f"psnr_clip16{end}_db"] = _decibel(CLIP_SUV, clipped_squares / voxels)
        found[f"psnr_published{end}_db"] = _decibel(top, clipped_squares / voxels)
        exists = total > 0
        found[f"nrmse{end}"] = float(np.sqrt(squares * voxels) / total) if exists else None
        found[f"nmae{end}"] = absolute / total if exists else None
    found |= _similarities(reference, test, body)
    _, before, after, *_ = errors[0].tolist()
    found["activity_change"] = relative_change(before, after)
    found["gradient_ratio"] = _gradient_ratio(reference, test, body)
    return found


def psnr(reference: Volume, test: Volume, peak: float, mask: Mask) -> float | None:
    """Return 10·log10(peak² / mean squared error) in dB over a mask; None for equal images."""
    error = np.subtract(test[mask], reference[mask], dtype=np.float64)
    return _decibel(peak, float(np.dot(error, error) / error.size) if error.size else 0.0)


def ssim(reference: Volume, test: Volume, body: Mask) -> float | None:
    """Return the mean of `ssim_map` over the body; None if the scan is thinner than its window."""
    if min(reference.shape) < _SSIM_WINDOW:
        return None

    def sum_of(part: Span) -> float:
        similarity = _ssim_of_range(*_planes_of(part, reference, test))
        return float(similarity[..., part.inner][body[..., part.core]].sum(dtype=np.float64))

    parts = map_plane_ranges(sum_of, reference.shape[2], _SSIM_REACH)
    voxels = int(np.count_nonzero(body))
    return sum(parts) / voxels if voxels else None


def ssim_map(reference: Volume, test: Volume) -> Volume | None:
    """Return scikit-image's structural similarity (Wang 2004) per voxel, in 3-D, data range 16.

    None if the scan is thinner than the window of 7 voxels.
    """
    from skimage.metrics import structural_similarity

    if min(reference.shape) < _SSIM_WINDOW:
        return None
    _, similarity = structural_similarity(
        reference, test, win_size=_SSIM_WINDOW, data_range=CLIP_SUV, full=True
    )
    return np.asarray(similarity, dtype=np.float32)


def coverage(
    reference: Volume, test: Volume, uncertainty: Volume, mask: Mask
) -> dict[str, float | None]:
    """Compare the standard deviation `uncertainty` of a scan with its error, over a mask.

    within_1_sd, within_2_sd   share of voxels whose error is at most one or two standard
                               deviations. For Gaussian errors 0.683 and 0.954 if it is exact,
                               0.649 and 0.914 (Student's t) if it is that of 8 samples, and 0.623
                               and 0.899 if `test` is the mean of the same samples
    error_over_sd              root mean square of the error over that of the uncertainty; None if
                               the uncertainty is 0 everywhere
    """
    error = np.abs(np.subtract(test[mask], reference[mask], dtype=np.float64))
    sd = uncertainty[mask].astype(np.float64)
    power = np.dot(sd, sd)
    return {
        "within_1_sd": float((error <= sd).mean()),
        "within_2_sd": float((error <= 2 * sd).mean()),
        "error_over_sd": float(np.sqrt(np.dot(error, error) / power)) if power > 0 else None,
    }


def _partial_errors(part: Span, reference: Volume, test: Volume, body: Mask) -> Sums:
    """Return the sums of `_error_sums` in a range of planes: over the body, and over all voxels."""
    images = [image[..., part.core] for image in (reference, test)]
    inside = body[..., part.core]
    return np.stack([_error_sums(*(i[where] for i in images)) for where in (inside, ...)])


def _error_sums(reference: Volume, test: Volume) -> Sums:
    """Return voxels, Σ reference, Σ test, Σ error², Σ |error|, and Σ error² after clipping."""
    first, second = (np.ravel(image).astype(np.float64) for image in (reference, test))
    error = second - first
    clipped = np.clip(second, 0, CLIP_SUV) - np.clip(first, 0, CLIP_SUV)
    squares, clipped_squares = np.dot(error, error), np.dot(clipped, clipped)
    absolute = np.abs(error).sum()
    return np.array([first.size, first.sum(), second.sum(), squares, absolute, clipped_squares])


def _gradient_ratio(reference: Volume, test: Volume, body: Mask) -> float | None:
    """Return the mean gradient of `test` over that of `reference`, both over the body."""
    if min(reference.shape) < 2:
        return None

    def sums_of(part: Span) -> Sums:
        inside = body[..., part.core]
        sums = []
        for image in (reference, test):
            slopes = np.asarray(np.gradient(image[..., part.read]))[..., part.inner]
            sums.append(np.sqrt(np.square(slopes).sum(0))[inside].sum(dtype=np.float64))
        return np.array(sums)

    of_reference, of_test = np.sum(map_plane_ranges(sums_of, reference.shape[2], 1), axis=0)
    return float(of_test / of_reference) if of_reference > 0 else None


def _similarities(reference: Volume, test: Volume, body: Mask) -> dict[str, float | None]:
    names = ("ssim", "ssim_whole", "ssim_published_whole")
    if min(reference.shape) < _SSIM_WINDOW:
        return dict.fromkeys(names)
    parts = map_plane_ranges(
        lambda part: _partial_similarities(part, reference, test, body),
        reference.shape[2],
        _SSIM_REACH,
    )
    sums, counts = np.sum(parts, axis=0)
    return {n: float(s / c) for n, s, c in zip(names, sums, counts, strict=True)}


def _partial_similarities(part: Span, reference: Volume, test: Volume, body: Mask) -> Sums:
    """Sum the SSIM over the body, the volume, and the clipped volume; returns sums and counts."""
    images = _planes_of(part, reference, test)
    clipped = [np.clip(image, 0, CLIP_SUV) for image in images]
    similarity = _ssim_of_range(*images)
    unchanged = all(np.array_equal(a, b) for a, b in zip(images, clipped, strict=True))
    published = similarity if unchanged else _ssim_of_range(*clipped)
    edge = slice(_SSIM_REACH, -_SSIM_REACH)
    first = max(part.core.start, _SSIM_REACH) - part.read.start
    last = min(part.core.stop, reference.shape[2] - _SSIM_REACH) - part.read.start
    whole = (edge, edge, slice(first, last))
    chosen = (
        similarity[..., part.inner][body[..., part.core]],
        similarity[whole],
        published[whole],
    )
    return np.array([[v.sum(dtype=np.float64) for v in chosen], [v.size for v in chosen]])


def _planes_of(part: Span, reference: Volume, test: Volume) -> list[Volume]:
    return [np.ascontiguousarray(image[..., part.read]) for image in (reference, test)]


def _ssim_of_range(reference: Volume, test: Volume) -> Volume:
    similarity = ssim_map(reference, test)
    assert similarity is not None  # ranges have 40 planes, or all
    return similarity


def _decibel(peak: float, mean_square: float) -> float | None:
    return float(10 * np.log10(peak**2 / mean_square)) if mean_square > 0 and peak > 0 else None
