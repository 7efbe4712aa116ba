"""The alarm knows ordinary scans, and names in what another one is unlike them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.uncertainty.alarm.features import WORDS, describe
from petdiff.uncertainty.alarm.reference import (
    Reference,
    alarm,
    load_reference,
    reference_path,
    save_reference,
)
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
    scans = [describe(ordinary(seed)) for seed in range(24)]
    return Reference.fit(scans, weights_sha256="00", what="toys", threshold=2.5)


def test_features_do_not_depend_on_the_unit() -> None:
    scan = ordinary(0)
    one, other = describe(scan), describe(scan.with_values(1000 * scan.values))
    assert set(one) == set(WORDS)
    for name in WORDS:
        if name != "scale":
            assert other[name] == pytest.approx(one[name], abs=1e-3), name
    assert other["scale"] - one["scale"] == pytest.approx(np.log(1000), abs=1e-3)


def test_ordinary_scans_raise_no_alarm(reference: Reference) -> None:
    records = [alarm(ordinary(seed), reference) for seed in range(100, 106)]
    assert not any(record.alarm for record in records)
    assert 0.4 < np.median([record.score for record in records]) < 1.8


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda v: 8 * v, WORDS["scale"]),
        (lambda v: gaussian_filter(v, 1.2), "noise"),
        (lambda v: gaussian_filter(v, (0, 0, 1.5)), WORDS["axial"]),
    ],
)
def test_what_is_changed_is_named(reference: Reference, change: object, feature: str) -> None:
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


def test_the_score_is_the_mahalanobis_distance_over_the_root_of_the_number() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(2, 1, (200, len(WORDS))) @ rng.normal(0, 1, (len(WORDS), len(WORDS)))
    scans = [dict(zip(WORDS, map(float, row), strict=True)) for row in table]
    reference = Reference.fit(scans, weights_sha256="", what="", threshold=2)
    z = (table - table.mean(axis=0)) / table.std(axis=0)
    correlation = 0.95 * np.corrcoef(table.T) + 0.05 * np.eye(table.shape[1])
    expected = np.sqrt(np.einsum("ni,ij,nj->n", z, np.linalg.inv(correlation), z) / z.shape[1])
    scores = [reference.judge(one).score for one in scans]
    np.testing.assert_allclose(scores, expected, rtol=0.02)


def test_an_empty_scan_is_described_by_nothing(reference: Reference) -> None:
    nothing = image(np.zeros_like(BODY))
    assert describe(nothing) == {}
    assert not alarm(nothing, reference).alarm


def test_a_reference_is_kept_beside_its_weights(reference: Reference, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    assert load_reference(weights, "00") is None
    assert save_reference(weights, reference) == tmp_path / "model.reference.json"
    assert load_reference(weights, "00") == reference
    assert load_reference(weights, "11") is None
    reference_path(weights).write_text("{}")
    with pytest.raises(InputRefused, match="no reference"):
        load_reference(weights, "00")


def test_the_default_model_has_a_reference_that_knows_a_picture_is_no_scan() -> None:
    from petdiff.methods.model import load_model, weights_path

    reference = load_reference(weights_path("flow3d"), load_model("flow3d").sha256)
    assert reference is not None
    steps = np.add.outer(np.add.outer(np.arange(40) // 8, np.arange(40) // 8), np.arange(40) // 8)
    record = alarm(image(steps.astype(np.float32)), reference)
    assert record.alarm
    assert record.score > 3 * reference.threshold
