"""Ordered-subsets expectation maximisation (OSEM): reconstructs activity from counts."""

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

    counts          of each volume, [angle, bin, tof, k]: one scan at several doses
    model           projector with the point spread that the reconstruction assumes; its subsets are
                    the ordered subsets
    multiplicative  [angle, bin, 1, k], expected counts per activity · mm: attenuation,
                    normalisation, sensitivity and time
    additive        [1, bin, tof, k], expected scatter and randoms at exposure 1, for every view
    exposures       one per volume: the share of multiplicative and additive at its dose. It gives
                    all volumes the same unit

    Returns activity [volume, i, j, k] in the unit in which `multiplicative` is given; zero outside
    the projector's field.
    """
    projector = model.projector
    # A bin with no expected counts has none; the floor only prevents 0/0.
    background = additive.clip(min=1e-12)
    subsets = range(projector.subsets)
    sensitivities = [_sensitivity(model, multiplicative, subset) for subset in subsets]
    start = _first_guess(counts, background, exposures, sensitivities, projector)
    images = []
    for seen, exposure in zip(counts, exposures, strict=True):
        image, exposed = start, [sensitivity * exposure for sensitivity in sensitivities]
        for subset in list(subsets) * iterations:
            step = _update(image, seen, model, multiplicative, background, subset)
            image = image * step / exposed[subset]
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
    near = model.blur_slices(image)
    update = 0
    # View by view, so that intermediate results fit the cache.
    for view in model.projector.views(subset):
        expected = model.forward_view(near, view)
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
    seen = sum(model.back_view(multiplicative[view] * ones, view) for view in views)
    sensitivity = model.blur_slices_back(seen)
    # Sensitivity is zero outside the field: 0 / tiny keeps these pixels at zero.
    return sensitivity.clip(min=1e-6 * float(sensitivity.max()))


def _first_guess(
    counts: Sequence[Array],
    background: Array,
    exposures: Sequence[float],
    sensitivities: list[Array],
    projector: ParallelProjector,
) -> Array:
    """Return an image that is uniform in the field, at the level that the counts imply."""
    events, exposure = sum(float(seen.sum()) for seen in counts), sum(exposures)
    trues = events - float(background.sum()) * len(projector.angles_rad) * exposure
    field = projector.as_array(projector.in_field)[:, :, None]
    total = sum(float((s * field).sum()) for s in sensitivities) * exposure
    level = max(trues, 1e-3 * events) / total
    return level * field * projector.ones((1, 1, counts[0].shape[-1]))
