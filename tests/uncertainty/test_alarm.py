"""The alarm compares scans with ordinary ones and names the features that differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.stats import norm

import petdiff
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.uncertainty.alarm.features import RIM_MM, WORDS, scan_features
from petdiff.uncertainty.alarm.record import AlarmRecord, MeanSUV
from petdiff.uncertainty.alarm.reference import (
    Reference,
    alarm,
    load_reference,
    reference_path,
    save_reference,
)
from petdiff.volume.regions import body_mask, typical_uptake
from support.audited import body, image, lesion, measured

BODY = body()


def ordinary(seed: int) -> PETImage:
    rng = np.random.default_rng(seed)
    hot = lesion(float(rng.uniform(2, 6)))
    truth = (BODY + hot) * np.float32(rng.lognormal(0, 0.1))
    share = np.float32(rng.uniform(0.5, 1))
    return image(truth + share * (measured(truth, seed) - truth))


@pytest.fixture(scope="module")
def reference() -> Reference:
    scans = [scan_features(ordinary(seed)) for seed in range(24)]
    return Reference.fit(scans, weights_sha256="00", what="toys", threshold=2.5)


def test_features_do_not_depend_on_the_unit() -> None:
    scan = ordinary(0)
    one, other = scan_features(scan), scan_features(scan.with_values(1000 * scan.values))
    assert set(one) == set(WORDS)
    for name in WORDS:
        if name != "scale":
            assert other[name] == pytest.approx(one[name], abs=1e-3), name
    assert other["scale"] - one["scale"] == pytest.approx(np.log(1000), abs=1e-3)


@pytest.mark.parametrize("axes", [(2, 0, 1), (0, 2, 1)])
def test_features_do_not_depend_on_the_order_in_which_axes_are_stored(
    axes: tuple[int, int, int],
) -> None:
    """A series of sagittal or coronal slices has the patient's axis along i or j."""
    for scan in (ordinary(0), long_body(0.9)):
        stored = PETImage(scan.values.transpose(axes), scan.affine[:, [*axes, 3]])
        assert scan_features(stored) == pytest.approx(scan_features(scan), abs=1e-4)


def test_features_of_white_noise_are_those_of_theory() -> None:
    """White noise of 5 % after second differences along three axes, once and twice."""
    white = np.random.default_rng(0).normal(size=(48, 48, 48))
    cubes = np.diag([5.0, 5.0, 5.0, 1.0])  # mm
    values = 1 + 0.05 * white
    found = scan_features(PETImage(values.astype(np.float32), cubes))
    once, twice = ((sum(w**2 for w in weights) ** 1.5) for weights in ((1, 2, 1), (1, 4, 6, 4, 1)))
    of_normal = norm.ppf(0.75)  # median of its absolute value
    # In the outermost voxels, an eighth of all, differences are smaller.
    assert found["noise"] == pytest.approx(np.log(of_normal * 0.05 * once / 4**3), abs=0.1)
    assert found["colour"] == pytest.approx(np.log(twice / once / 4**3), abs=0.1)
    assert found["tails"] == pytest.approx(np.log(norm.ppf(0.995) / of_normal), abs=0.1)
    assert found["axial"] == pytest.approx(0, abs=0.02)

    values[36:] = 0.25 * (1 + white[36:])  # noise of cold tissue does not count
    with_cold = scan_features(PETImage(values.astype(np.float32), cubes))
    assert with_cold["noise"] == pytest.approx(found["noise"], abs=0.15)

    small = values.repeat(2, 0).repeat(2, 1).repeat(2, 2).astype(np.float32)
    halves = np.diag([2.5, 2.5, 2.5, 1.0])
    for name in ("noise", "colour", "axial", "tails"):
        assert scan_features(PETImage(small, halves))[name] == pytest.approx(
            with_cold[name], abs=1e-3
        )


def test_extents_of_a_body_are_in_millimetres() -> None:
    values = 0.02 * np.random.default_rng(1).normal(size=(48, 40, 30)).astype(np.float32)
    values[12:36, 10:30, 5:25] = 1
    found = scan_features(PETImage(values, np.diag([5.0, 6.0, 10.0, 1.0])))
    # The smoothed outline of the body is up to a voxel wider on each side.
    assert 199 <= np.exp(found["length"]) <= 221
    assert 120 * 120 <= np.exp(found["section"]) <= 130 * 132
    assert 24 * 20 * 20 <= found["field"] * values.size <= 26 * 22 * 22
    assert found["air"] == pytest.approx(np.log(0.02 * np.sqrt(2 / np.pi)), abs=0.1)


@pytest.mark.parametrize(("width", "cropped"), [(4, False), (16, True)])
def test_a_body_on_a_tenth_of_the_sides_is_cropped(width: int, cropped: bool) -> None:
    values = np.zeros((32, 32, 24), np.float32)
    values[:20, 8 : 8 + width] = 1  # on the first of four sides of the same size
    found = scan_features(PETImage(values, np.diag([5.0, 5.0, 5.0, 1.0])))
    assert ("section" not in found) == cropped


def test_ordinary_scans_raise_no_alarm(reference: Reference) -> None:
    records = [alarm(ordinary(seed), reference) for seed in range(100, 106)]
    assert not any(record.alarm for record in records)
    assert 0.4 < np.median([record.score for record in records]) < 1.8


def test_the_outermost_tissue_is_that_near_air_anywhere_in_the_scan() -> None:
    cube = np.full((24, 24, 24), 0.5)
    cube[6:-6, 6:-6, 6:-6] = 2
    scan = image(np.pad(cube, 8))
    body = body_mask(scan.values, scan.spacing_mm)
    depth_mm = distance_transform_edt(body, sampling=scan.spacing_mm)
    rim = scan.values[body & (depth_mm <= RIM_MM)].mean()
    expected = np.log(rim / typical_uptake(scan.values[body]))
    assert scan_features(scan)["rim"] == pytest.approx(expected, abs=1e-6)


def test_voxels_larger_than_the_outermost_tissue_have_one_voxel_of_it() -> None:
    cube = np.pad(np.full((6, 6, 6), 2.0), 4)
    large = np.diag([25.0, 25.0, 25.0, 1.0])  # mm
    found = scan_features(PETImage(cube.astype(np.float32), large))
    assert found["rim"] == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda v: 8 * v, WORDS["scale"]),
        (lambda v: gaussian_filter(v, 1.2), "noise"),
        (lambda v: gaussian_filter(v, (0, 0, 1.5)), WORDS["axial"]),
    ],
)
def test_the_changed_feature_is_named(reference: Reference, change: object, feature: str) -> None:
    scan = ordinary(200)
    record = alarm(scan.with_values(change(scan.values)), reference)
    assert record.alarm
    assert any(feature in one.feature for one in record.unlike)
    assert "unlike the scans that the model knows" in record.sentence


def test_a_scan_in_another_unit_has_no_scale_to_be_wrong(reference: Reference) -> None:
    scan = replace(ordinary(300), in_suv=False, unit="CNTS")
    record = alarm(scan.with_values(8 * scan.values), reference)
    assert record.unknown == (WORDS["scale"],)
    assert not record.alarm


def test_a_crop_within_the_body_does_not_show_how_wide_the_body_is(reference: Reference) -> None:
    scan = ordinary(7)
    crop = image(scan.values[14:34, 12:28])
    unknown = ("rim", "air", "section", "field")
    assert set(unknown) <= set(scan_features(scan))
    assert not set(unknown) & set(scan_features(crop))
    assert alarm(crop, reference).unknown == tuple(WORDS[name] for name in unknown)


def test_the_outermost_tissue_is_compared_with_ordinary_tissue() -> None:
    hollow = long_body(1.0, 40)
    rim, typical = (scan_features(hollow)[name] for name in ("rim", "scale"))
    assert rim < typical - 0.5  # a fat rim
    full = hollow.with_values((hollow.values > 0).astype(np.float32))
    assert -0.4 < scan_features(full)["rim"] < 0


def long_body(mean_suv: float, planes: int = 200) -> PETImage:
    """A trunk of 30 × 24 cm: a quarter of its section cold, half of it hot, a quarter fat."""
    i, j = (np.arange(n) - n / 2 + 0.5 for n in (84, 66))
    squares = (i[:, None] / 37.5) ** 2 + (j / 30) ** 2
    fat = 0.25
    hot = 2 - fat / 2
    shares = np.select([squares < 0.25, squares < 0.75, squares < 1], [0, hot, fat], 0.0)
    return image(np.repeat(mean_suv * shares[..., None], planes, axis=2))


def test_the_mean_suv_of_most_of_a_body_is_bounded_and_its_cold_parts_count(
    reference: Reference,
) -> None:
    right, double = (alarm(long_body(mean), reference).mean_suv for mean in (0.9, 1.8))
    assert right is not None
    assert double is not None
    assert right.mean == pytest.approx(0.9, rel=0.08)
    assert right.is_possible
    assert double.mean == pytest.approx(2 * right.mean, rel=1e-3)
    assert not double.is_possible


def test_an_impossible_mean_suv_raises_an_alarm_with_its_value(reference: Reference) -> None:
    calm = reference.model_copy(update={"threshold": 1e6})
    record = alarm(long_body(1.8), calm)
    assert record.alarm
    assert record.sentence.startswith("in doubtful SUV: the mean over the body is 1.")
    assert not alarm(long_body(0.9), calm).alarm


def test_a_value_just_beyond_a_limit_is_not_shown_as_the_limit() -> None:
    low = MeanSUV(mean=0.4997, low=0.5, high=1.25)
    sentence = AlarmRecord(score=1.704, threshold=1.7, alarm=True, mean_suv=low).sentence
    assert "score 1.704, usual are up to 1.7)" in sentence
    assert "the mean over the body is 0.4997, and 0.5 to 1.25 is possible" in sentence
    far = AlarmRecord(score=3.2163, threshold=1.7, alarm=True)
    assert "score 3.2, usual are up to 1.7)" in far.sentence


def test_the_alarm_and_its_sentence_agree_on_the_recorded_score(reference: Reference) -> None:
    found = scan_features(ordinary(3))
    score = reference.compare(found).score
    for threshold in (score - 1e-6, score, score + 1e-6):
        record = reference.model_copy(update={"threshold": threshold}).compare(found)
        assert record.alarm == record.sentence.startswith("unlike")


def test_a_part_of_a_body_may_have_any_mean_suv(reference: Reference) -> None:
    part, counts = long_body(9.0, 100), replace(long_body(9.0), in_suv=False, unit="CNTS")
    crop = long_body(9.0)
    inside = image(crop.values[20:70, 15:55])
    assert [alarm(one, reference).mean_suv for one in (part, counts, inside)] == [None] * 3


def test_the_score_is_the_mahalanobis_distance_over_the_root_of_the_number() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(2, 1, (60, len(WORDS))) @ rng.normal(0, 1, (len(WORDS), len(WORDS)))
    scans = [dict(zip(WORDS, map(float, row), strict=True)) for row in table]
    reference = Reference.fit(scans, weights_sha256="", what="", threshold=2)
    z = (table - table.mean(axis=0)) / table.std(axis=0)
    correlation = 0.95 * np.corrcoef(table.T) + 0.05 * np.eye(table.shape[1])
    expected = np.sqrt(np.einsum("ni,ij,nj->n", z, np.linalg.inv(correlation), z) / z.shape[1])
    scores = [reference.compare(one).score for one in scans]
    np.testing.assert_allclose(scores, expected, rtol=0.002)


def test_an_empty_scan_has_no_features(reference: Reference) -> None:
    nothing = image(np.zeros_like(BODY))
    assert scan_features(nothing) == {}
    assert not alarm(nothing, reference).alarm


def test_a_reference_is_stored_beside_its_weights(reference: Reference, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    assert load_reference(weights, "00") is None
    assert save_reference(weights, reference) == tmp_path / "model.reference.json"
    assert load_reference(weights, "00") == reference
    assert load_reference(weights, "11") is None
    reference_path(weights).write_text("{}")
    with pytest.raises(InputRefused, match="no reference"):
        load_reference(weights, "00")


def test_the_reference_of_the_default_model_raises_an_alarm_for_a_picture() -> None:
    from petdiff.methods.model import load_model
    from petdiff.methods.weights_files import weights_path

    reference = load_reference(weights_path("flow3d"), load_model("flow3d").sha256)
    assert reference is not None
    steps = np.add.outer(np.add.outer(np.arange(40) // 8, np.arange(40) // 8), np.arange(40) // 8)
    record = alarm(image(steps.astype(np.float32)), reference)
    assert record.alarm
    assert record.score > 3 * reference.threshold


@pytest.mark.real
def test_real_crops_raise_no_alarm_but_one_for_its_noise(test_data: Path) -> None:
    from petdiff.methods.model import load_model
    from petdiff.methods.weights_files import weights_path

    reference = load_reference(weights_path("flow3d"), load_model("flow3d").sha256)
    assert reference is not None
    raised = {}
    for path in sorted(test_data.glob("sts_fdg/*/PET_image.nii.gz")):
        record = alarm(petdiff.read(path), reference)
        if record.alarm:
            raised[path.parent.name] = record.unlike[0].feature
    assert raised == {"STS_007": WORDS["colour"]}
