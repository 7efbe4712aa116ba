"""Lesions and organs against closed forms: balls of known volume, even and Gaussian uptake."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import shift
from scipy.special import erf

from petdiff.errors import InputRefused
from petdiff.evaluation.inputs import labelled_lesions
from petdiff.evaluation.organs import (
    coefficient_of_variation,
    deepest_sphere,
    find_organs,
    measure_organ,
)
from petdiff.evaluation.weighted_mask import (
    PEAK_RADIUS_MM,
    measure_mask,
    sphere_mask,
    true_figures,
)
from petdiff.volume.regions import ball, inscribed_sphere, sphere_weights

MM = (2.0, 2.5, 3.0)
SHAPE = (40, 36, 32)
AFFINE = np.array([[-2.0, 0, 0, 39], [0, 2.5, 0, -44], [0, 0, 3.0, -46], [0, 0, 0, 1]])


def distance_mm(centre: tuple[float, float, float]) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    return np.asarray(np.linalg.norm((index - centre) * MM, axis=-1))


@pytest.mark.parametrize("radius_mm", [0.8, 2.0, 6.2, 15.0])
def test_shares_of_a_sphere_add_up_to_its_volume(radius_mm: float) -> None:
    _, shares = sphere_weights(SHAPE, MM, (18.3, 17.6, 15.1), radius_mm)
    volume = 4 / 3 * np.pi * radius_mm**3
    assert shares.sum() * np.prod(MM) == pytest.approx(volume, rel=0.01)
    assert 0 <= shares.min() <= shares.max() <= 1 + 1e-9


def test_half_a_sphere_at_the_edge_of_the_field() -> None:
    box, shares = sphere_weights(SHAPE, MM, (-0.5, 17.0, 15.0), 8.0)
    assert box[0].start == 0
    assert shares.sum() * np.prod(MM) == pytest.approx(2 / 3 * np.pi * 8**3, rel=0.01)
    outside, nothing = sphere_weights(SHAPE, MM, (-40.0, 17.0, 15.0), 8.0)
    assert nothing.size == 0
    assert np.zeros(SHAPE)[outside].size == 0


def test_even_lesion_measures_its_uptake_in_every_way() -> None:
    centre = (20.0, 17.0, 15.0)
    suv = np.where(distance_mm(centre) < 20, 5.0, 0.0).astype(np.float32)
    at = (AFFINE @ [*centre, 1])[:3]
    lesion = sphere_mask("lesion 1", at, 10.0, SHAPE, AFFINE, true_suv=5.0)
    found = measure_mask(lesion, suv, MM)
    volume_ml = 4 / 3 * np.pi
    assert found["suv_mean"] == pytest.approx(5)
    assert found["suv_max"] == 5
    assert found["suv_peak"] == pytest.approx(5)
    assert found["activity"] == pytest.approx(5 * volume_ml, rel=0.005)
    # The contour runs around all that is as hot, 20 mm and no further than 10 beyond the lesion.
    expected = float((suv > 0).sum() * np.prod(MM) / 1000)
    assert found["volume_41_ml"] == pytest.approx(expected)
    true = true_figures(lesion)
    assert true["activity"] == pytest.approx(5 * volume_ml)


def test_contour_that_follows_something_else_has_no_volume() -> None:
    warm = np.ones(SHAPE, dtype=np.float32)
    warm[20, 17, 15] = 2.0
    at = (AFFINE @ [20, 17, 15, 1])[:3]
    lesion = sphere_mask("lesion 1", at, 4.0, SHAPE, AFFINE)
    assert measure_mask(lesion, warm, MM)["volume_41_ml"] is None
    warm[20, 17, 15] = 4.0
    found = measure_mask(lesion, warm, MM)
    assert found["volume_41_ml"] == pytest.approx(np.prod(MM) / 1000)


def test_contour_holds_the_voxels_of_41_per_cent_and_more() -> None:
    suv = np.zeros(SHAPE, dtype=np.float32)
    suv[18:23, 17, 15] = 40.9, 41, 100, 41, 40.9
    suv[19, 18, 16], suv[23, 17, 15] = 41, 100  # touching by a corner, and not connected
    lesion = sphere_mask("lesion 1", (AFFINE @ [20, 17, 15, 1])[:3], 4.0, SHAPE, AFFINE)
    assert measure_mask(lesion, suv, MM)["volume_41_ml"] == pytest.approx(4 * 0.015)


def test_contour_is_of_the_maximum_of_the_core() -> None:
    lesion = sphere_mask("lesion 1", (AFFINE @ [20, 17, 15, 1])[:3], 4.0, SHAPE, AFFINE)
    edge = (lesion.weights > 0) & ~lesion.core
    values = np.where(lesion.core, 10.0, 0.0)
    values[tuple(np.argwhere(edge)[0])] = 100.0
    suv = np.zeros(SHAPE, dtype=np.float32)
    suv[lesion.box] = values
    found = measure_mask(lesion, suv, MM)
    assert found["suv_max"] == 10
    assert found["volume_41_ml"] == pytest.approx((lesion.core.sum() + 1) * 0.015)
    assert measure_mask(lesion, -suv, MM)["volume_41_ml"] is None


@pytest.mark.parametrize(("voxels", "size_mm"), [(4, 2.5), (5, 2.1), (5, 2.5)])
def test_contour_may_extend_10_mm_beyond_its_lesion(voxels: int, size_mm: float) -> None:
    mm = (2.0, size_mm, 3.0)
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[20, 10, 15] = 1
    suv = np.zeros(SHAPE, dtype=np.float32)
    suv[20, 10 : 11 + voxels, 15] = 5.0
    found = measure_mask(labelled_lesions(labels, mm)[0], suv, mm)["volume_41_ml"]
    assert found == (None if voxels * size_mm > 10 else pytest.approx((voxels + 1) * 0.015))


def test_mean_and_peak_of_a_gaussian_blob() -> None:
    """The mean of exp(-r²/2σ²) over a ball of radius R has a closed form."""
    sigma, mm = 6.0, (1.0, 1.0, 1.0)
    index = np.indices((41, 41, 41)) - 20
    blob = np.exp(-(index**2).sum(0) / (2 * sigma**2)).astype(np.float32)
    affine = np.diag([1.0, 1, 1, 1])

    def mean_within(radius: float) -> float:
        u = radius / (sigma * np.sqrt(2))
        whole = erf(u) - 2 * u * np.exp(-(u**2)) / np.sqrt(np.pi)
        return float((2 * np.pi * sigma**2) ** 1.5 * whole / (4 / 3 * np.pi * radius**3))

    lesion = sphere_mask("lesion 1", (20, 20, 20), 9.0, blob.shape, affine)
    found = measure_mask(lesion, blob, mm)
    assert found["suv_mean"] == pytest.approx(mean_within(9.0), rel=0.005)
    assert found["suv_peak"] == pytest.approx(mean_within(PEAK_RADIUS_MM), rel=0.005)
    contour = 4 / 3 * np.pi * (sigma * np.sqrt(-2 * np.log(0.41))) ** 3 / 1000
    assert found["volume_41_ml"] == pytest.approx(contour, rel=0.03)
    assert 4 / 3 * np.pi * PEAK_RADIUS_MM**3 == pytest.approx(1000)


def test_peak_finds_the_hot_end_and_stays_in_the_lesion() -> None:
    mm, affine = (2.0, 2.0, 2.0), np.diag([2.0, 2, 2, 1])
    suv = np.ones((30, 30, 30), dtype=np.float32)
    suv[20] += 10.0  # a hot sheet, within reach of the sphere about the lesion's last voxel
    lesion = sphere_mask("lesion 1", (30.0, 30.0, 30.0), 8.0, suv.shape, affine)
    expected = 0.0
    for i in range(12, 19):  # the lesion's voxels along the axis towards the sheet
        box, shares = sphere_weights(suv.shape, mm, (i, 15, 15), PEAK_RADIUS_MM)
        expected = max(expected, float((shares * suv[box]).sum() / shares.sum()))
    assert measure_mask(lesion, suv, mm)["suv_peak"] == pytest.approx(expected, rel=1e-6)


def test_peak_of_an_even_scan_is_even_at_the_edge_of_the_field_too() -> None:
    at = (AFFINE @ [0, 17, 15, 1])[:3]
    lesion = sphere_mask("lesion 1", at, 5.0, SHAPE, AFFINE)
    found = measure_mask(lesion, np.full(SHAPE, 5.0, dtype=np.float32), MM)
    assert found["suv_peak"] == pytest.approx(5)


def test_scaled_scan_has_scaled_figures_and_the_same_contour() -> None:
    rng = np.random.default_rng(0)
    suv = (8 * np.exp(-distance_mm((20, 17, 15)) / 6) + rng.random(SHAPE)).astype(np.float32)
    at = (AFFINE @ [20, 17, 15, 1])[:3]
    lesion = sphere_mask("lesion 1", at, 7.0, SHAPE, AFFINE)
    once, twice = (measure_mask(lesion, suv * np.float32(f), MM) for f in (1, 2))
    assert once["volume_41_ml"] == twice["volume_41_ml"]
    for name in ("suv_mean", "suv_max", "suv_peak", "activity"):
        assert once[name] is not None
        assert twice[name] == pytest.approx(2 * once[name], rel=1e-6)


def test_moved_scan_with_its_lesion_measures_the_same() -> None:
    suv = (8 * np.exp(-distance_mm((20, 17, 15)) / 6)).astype(np.float32)
    moved = shift(suv, (3, -2, 1), order=0, mode="nearest")
    figures = []
    for image, index in ((suv, (20, 17, 15)), (moved, (23, 15, 16))):
        lesion = sphere_mask("lesion 1", (AFFINE @ [*index, 1])[:3], 7.0, SHAPE, AFFINE)
        figures.append(measure_mask(lesion, image, MM))
    assert figures[0] == pytest.approx(figures[1])


def test_smaller_than_a_voxel_still_has_a_maximum() -> None:
    at = (AFFINE @ [20.2, 17.1, 15.0, 1])[:3]
    lesion = sphere_mask("lesion 1", at, 0.7, SHAPE, AFFINE)
    suv = np.zeros(SHAPE, dtype=np.float32)
    suv[20, 17, 15] = 3.0
    assert measure_mask(lesion, suv, MM)["suv_max"] == 3


def test_lesion_outside_the_field_is_refused_by_name() -> None:
    for centre in ((0.0, 0.0, 500.0), (0.0, 0.0, -46 - 1.5 - 1.0)):
        with pytest.raises(InputRefused, match=r"lesion 2 \(liver\).*outside"):
            sphere_mask("lesion 2 (liver)", centre, 9.0, SHAPE, AFFINE)
    half_in = sphere_mask("lesion 2", (0.0, 0.0, -46 - 1.5 + 2.0), 9.0, SHAPE, AFFINE)
    assert half_in.weights.sum() > 0


def test_a_lesion_cut_by_the_field_is_not_compared_with_all_of_it() -> None:
    for depth_mm, compared in ((9.0, True), (8.5, True), (7.5, False)):
        centre = (0.0, 0.0, -46 - 1.5 + depth_mm)
        lesion = sphere_mask("lesion 1", centre, 9.0, SHAPE, AFFINE, true_suv=5.0)
        missing = max(9 - depth_mm, 0)  # a cap of this height
        cap = missing**2 * (27 - missing) / (4 * 9**3)
        assert lesion.visible_fraction == pytest.approx(1 - cap, abs=0.005)
        assert bool(true_figures(lesion)) == compared


@pytest.mark.parametrize("voxel", [(20.2, 17.1, 15.0), (0.0, 17.1, 31.0)])
def test_a_small_lesion_in_the_field_is_all_seen(voxel: tuple[float, float, float]) -> None:
    at = (AFFINE @ [*voxel, 1])[:3]
    assert sphere_mask("lesion 1", at, 0.1, SHAPE, AFFINE, true_suv=5.0).visible_fraction == 1


def test_lesions_of_a_volume_are_its_labels_or_its_parts() -> None:
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[2:5, 2:5, 2:5], labels[20:22, 20:22, 20:22] = 4, 9
    both = labelled_lesions(labels, MM)
    assert [lesion.name for lesion in both] == ["lesion 4", "lesion 9"]
    assert both[0].volume_ml == pytest.approx(27 * 15 / 1000)
    parts = labelled_lesions((labels > 0).astype(np.int32), MM)
    assert [float(lesion.weights.sum()) for lesion in parts] == [27, 8]
    suv = np.where(labels == 9, 6.0, 1.0).astype(np.float32)
    found = measure_mask(parts[1], suv, MM)
    assert (found["suv_mean"], found["suv_max"]) == (6, 6)
    assert found["volume_41_ml"] == pytest.approx(8 * 15 / 1000)
    labels[22, 22, 22] = 9  # touches the second by a corner
    parts = labelled_lesions((labels > 0).astype(np.int32), MM)
    assert [float(lesion.weights.sum()) for lesion in parts] == [27, 9]
    with pytest.raises(InputRefused, match="no lesion"):
        labelled_lesions(np.zeros(SHAPE, dtype=np.int32), MM)


def test_organs_by_name_or_number() -> None:
    labels = np.zeros((6, 6, 6), dtype=np.int32)
    labels[:2], labels[4, 4, 4] = 1, 7
    suv = np.arange(216, dtype=np.float32).reshape(6, 6, 6)
    organs = find_organs(labels, {1: "liver"})
    assert [organ.name for organ in organs] == ["liver", "label 7"]
    found = measure_organ(organs[0], suv)
    assert found == {"suv_mean": pytest.approx(35.5), "suv_max": 71}
    assert measure_organ(organs[1], suv) == {"suv_mean": 172, "suv_max": 172}
    twins = find_organs(labels, {1: "lung", 7: "lung"})
    assert [organ.name for organ in twins] == ["lung label 1", "lung label 7"]


def test_sphere_is_placed_where_an_organ_is_deepest() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[ball(SHAPE, MM, (20, 17, 15), 20.0)] = True
    mask[2:4, :, :] = True  # a thin slab beside it
    centre, depth_mm = inscribed_sphere(mask, MM)
    assert centre == (20, 17, 15)
    assert depth_mm == pytest.approx(20, abs=2.5)
    organ = find_organs(mask.astype(np.int32), {1: "liver"})[0]
    sphere, radius_mm = deepest_sphere(organ, MM)
    assert radius_mm == 15
    assert sphere.sum() * np.prod(MM) == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.03)
    rng = np.random.default_rng(1)
    suv = (2 + 0.2 * rng.standard_normal(SHAPE)).astype(np.float32)
    found = coefficient_of_variation(suv[organ.box][sphere])
    assert found == pytest.approx(0.1, rel=0.1)
    assert coefficient_of_variation(np.zeros(5, dtype=np.float32)) is None
    full = np.ones((5, 5, 5), dtype=bool)  # the volume's border is an edge as well
    assert inscribed_sphere(full, (2.0, 2.0, 2.0)) == ((2, 2, 2), 6.0)
