"""Reconstruction of activity from counts by ordered-subsets expectation maximisation (OSEM)."""

from __future__ import annotations

from collections.abc import Sequence

from petdiff.simulation.scanner.banded_matrix import Array
from petdiff.simulation.scanner.projector import ParallelProjector
from petdiff.simulation.scanner.resolution import BlurredProjector


def osem(
    counts: Sequence[Array],
    model: BlurredProjector,
    *,
    iterations: int,
    multiplicative: Array,
    additive: Array,
    exposures: Sequence[float] = (1.0,),
) -> Array:
    """Reconstruct activity from counts (Hudson and Larkin, IEEE TMI 1994, doi 10.1109/42.363108).

    counts          of each volume, [angle, bin, tof, k]; the volumes are one scan at several doses
    model           projector with the point spread that the reconstruction assumes; its subsets are
                    the ordered subsets
    multiplicative  [angle, bin, 1, k], expected counts per activity · mm: attenuation,
                    normalisation, sensitivity and time
    additive        [1, bin, tof, k], expected scatter and randoms at exposure 1 in each view
    exposures       one per volume: its dose relative to that of `multiplicative` and `additive`.
                    All volumes are returned in the same unit

    Returns activity [volume, i, j, k] in the unit in which `multiplicative` is given; zero outside
    the projector's field.
    """
    projector = model.projector
    # A bin without expected counts has no counts; the minimum only prevents 0/0.
    background = additive.clip(min=1e-12)
    subsets = range(projector.subsets)
    sensitivities = [_sensitivity(model, multiplicative, subset) for subset in subsets]
    start = _initial_image(counts, background, exposures, sensitivities, projector)
    images = []
    for volume_counts, exposure in zip(counts, exposures, strict=True):
        image, at_exposure = start, [sensitivity * exposure for sensitivity in sensitivities]
        for subset in list(subsets) * iterations:
            update = _update(image, volume_counts, model, multiplicative, background, subset)
            image = image * update / at_exposure[subset]
        images.append(image)
    return projector.stack(images)


def _update(
    image: Array,
    counts: Array,
    model: BlurredProjector,
    multiplicative: Array,
    background: Array,
    subset: int,
) -> Array:
    """Return the back-projected ratios of a volume's counts to those expected at exposure 1."""
    blurred = model.blur_slices(image)
    update = 0
    # One view at a time, so that intermediate results fit in the cache.
    for view in model.projector.views(subset):
        expected = model.forward_view(blurred, view)
        expected *= multiplicative[view]
        expected += background[0]
        ratio = counts[view] / expected
        ratio *= multiplicative[view]
        update += model.back_view(ratio, view)
    return model.blur_slices_back(update)


def _sensitivity(model: BlurredProjector, multiplicative: Array, subset: int) -> Array:
    projector = model.projector
    ones = projector.ones((1, projector.n_tof, 1))
    views = projector.views(subset)
    image = sum(model.back_view(multiplicative[view] * ones, view) for view in views)
    sensitivity = model.blur_slices_back(image)
    # Sensitivity is zero outside the field. The minimum keeps these pixels at zero, not at 0/0.
    return sensitivity.clip(min=1e-6 * float(sensitivity.max()))


def _initial_image(
    counts: Sequence[Array],
    background: Array,
    exposures: Sequence[float],
    sensitivities: list[Array],
    projector: ParallelProjector,
) -> Array:
    """Return an image that is uniform in the field and has the trues of the counts."""
    events, exposure = sum(float(one.sum()) for one in counts), sum(exposures)
    trues = events - float(background.sum()) * len(projector.angles_rad) * exposure
    field = projector.as_array(projector.in_field)[:, :, None]
    total = sum(float((s * field).sum()) for s in sensitivities) * exposure
    level = max(trues, 1e-3 * events) / total
    return level * field * projector.ones((1, 1, counts[0].shape[-1]))
