"""Ordered-subsets expectation maximisation: from counts back to activity."""

from __future__ import annotations

from collections.abc import Sequence

from petdiff.clinic.banded import Array
from petdiff.clinic.projector import ParallelProjector
from petdiff.clinic.resolution import BlurredProjector


def osem(
    counts: Array,
    model: BlurredProjector,
    *,
    iterations: int,
    multiplicative: Array,
    additive: Array,
    exposures: Sequence[float] = (1.0,),
) -> Array:
    """Reconstruct activity from counts (Hudson and Larkin, IEEE TMI 1994, doi 10.1109/42.363108).

    counts          [angle, bin, tof, volume, k]: several volumes of one scan, reconstructed at once
    model           projector with the point spread that the reconstruction assumes; its subsets
                    are the ordered subsets
    multiplicative  [angle, bin, 1, k], expected counts per activity · mm: attenuation,
                    normalisation, sensitivity and time
    additive        [angle, bin, tof, k], expected scatter and randoms at exposure 1
    exposures       one per volume: the share of multiplicative and additive that it was scanned
                    with, so that every volume comes out in the same unit

    Returns activity [i, j, volume, k] in the unit in which `multiplicative` is given; zero
    outside the projector's field.
    """
    projector = model.projector
    factor = multiplicative[..., None, :]
    # A bin that expects nothing holds nothing; the floor only keeps 0/0 from being NaN.
    background = additive[..., None, :].clip(min=1e-12)
    exposure = projector.as_array(exposures)[:, None]
    sensitivities = [
        _sensitivity(model, factor[projector.views(m)], m) for m in range(projector.subsets)
    ]
    image = _first_guess(counts, background, exposure, sensitivities, projector)
    for _ in range(iterations):
        for m in range(projector.subsets):
            views = projector.views(m)
            expected = model.forward(image, m)
            expected *= factor[views]
            expected += background[views]
            expected *= exposure
            ratio = counts[views] / expected
            ratio *= factor[views]
            image *= model.back(ratio, m)
            image /= sensitivities[m]
    return image


def _sensitivity(model: BlurredProjector, factor: Array, subset: int) -> Array:
    projector = model.projector
    ones = projector.ones((1, 1, projector.n_tof, 1, 1))
    sensitivity = model.back(factor * ones, subset)
    # Pixels outside the field see nothing: 0 / tiny keeps them at zero.
    return sensitivity.clip(min=1e-6 * float(sensitivity.max()))


def _first_guess(
    counts: Array,
    background: Array,
    exposure: Array,
    sensitivities: list[Array],
    projector: ParallelProjector,
) -> Array:
    """Uniform in the field, at the level that the counts call for."""
    volumes, slices = counts.shape[-2:]
    events = float(counts.sum())
    trues = events - float(background.sum()) * float(exposure.sum())
    field = projector.as_array(projector.in_field)[:, :, None, None]
    total = sum(float((s * field).sum()) for s in sensitivities) * float(exposure.sum())
    level = max(trues, 1e-3 * events) / total
    return level * field * projector.ones((1, 1, volumes, slices))
