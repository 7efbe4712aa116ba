"""An audit finds what was painted into a denoised scan or wiped out of it, and little else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import petdiff
from petdiff.errors import InputRefused, UsageError
from petdiff.uncertainty.audit.findings import finding_kind
from petdiff.uncertainty.audit.record import Finding
from support.audited import AFFINE, PLACE, body, image, lesion, measured

BODY = body()
LESION = lesion(5.0)
MOVED = np.outer([2, 0, 0, 0], [0, 0, 0, 1])  # mm


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_right_denoised_scan_agrees(seed: int) -> None:
    record = petdiff.audit(image(measured(BODY, seed)), image(BODY)).record
    assert record.verdict.startswith("agrees")
    assert record.findings == ()
    assert record.found == {"fabrication": 0, "omission": 0, "shift": 0}


@pytest.mark.parametrize("seed", range(4))
def test_noise_in_a_single_plane_is_no_finding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flat = np.ones((48, 48, 1))
    noisy = rng.gamma(20, 1 / 20, flat.shape)
    assert petdiff.audit(image(noisy), image(flat)).record.found == {
        "fabrication": 0, "omission": 0, "shift": 0,
    }  # fmt: skip


def test_a_focus_in_the_denoised_scan_only_is_a_fabrication() -> None:
    record = petdiff.audit(image(measured(BODY)), image(BODY + LESION)).record
    (found,) = record.findings
    assert found.kind == "fabrication"
    assert np.abs(np.array(found.voxel) - PLACE).max() <= 1
    np.testing.assert_allclose(found.position_mm, (AFFINE @ [*found.voxel, 1])[:3])
    assert 8 <= found.diameter_mm <= 23
    assert found.z < -record.z_needed
    assert found.p < 0.01
    assert found.denoised > 2 * found.measured
    assert record.verdict == "contradicts the measured scan: 1 fabrication"


def test_a_focus_in_the_measured_scan_only_is_an_omission() -> None:
    record = petdiff.audit(image(measured(BODY + LESION)), image(BODY)).record
    (found,) = record.findings
    assert found.kind == "omission"
    assert found.z > record.z_needed
    assert np.abs(np.array(found.voxel) - PLACE).max() <= 1


def test_a_focus_that_both_show_with_another_activity_is_shifted() -> None:
    strong = lesion(12.0, 10.0)
    truth = BODY + strong
    calm = truth + 0.3 * (measured(truth) - truth)
    record = petdiff.audit(image(calm), image(BODY + 1.6 * strong)).record
    assert [one.kind for one in record.findings] == ["shift"]
    assert "with another activity" in record.verdict


@pytest.mark.parametrize(("painted", "kind"), [(True, "fabrication"), (False, "omission")])
def test_a_focus_beside_a_hot_organ_is_no_cold_one(painted: bool, kind: str) -> None:
    """Without the focus, its place is far colder than a larger ball, which holds the organ."""
    beside = BODY + np.roll(lesion(60.0, 14.0), (0, 8, 0), axis=(0, 1, 2))
    with_focus = beside + lesion(8.0)
    pair = (beside, with_focus) if painted else (with_focus, beside)
    calm = pair[0] + 0.3 * (measured(pair[0]) - pair[0])
    record = petdiff.audit(image(calm), image(pair[1])).record
    assert [one.kind for one in record.findings] == [kind]


def test_less_noise_reveals_more() -> None:
    faint = lesion(1.2)
    noisy, calm = (
        petdiff.audit(image(BODY + share * (measured(BODY) - BODY)), image(BODY + faint)).record
        for share in (1.0, 0.2)
    )
    assert noisy.findings == ()
    assert [one.kind for one in calm.findings] == ["fabrication"]
    # The level is measured in the scan, whose anatomy it cannot quite exclude.
    assert 0.1 < calm.scales[0].noise / noisy.scales[0].noise < 0.6


def test_an_audit_does_not_depend_on_the_unit() -> None:
    one, thousand = (
        petdiff.audit(image(scale * measured(BODY)), image(scale * (BODY + LESION))).record
        for scale in (1, 1000)
    )
    assert [f.voxel for f in one.findings] == [f.voxel for f in thousand.findings]
    assert one.findings[0].z == pytest.approx(thousand.findings[0].z, abs=0.02)
    assert 1000 * one.findings[0].measured == pytest.approx(thousand.findings[0].measured, rel=1e-3)


def test_maps_are_aligned_with_the_scan_and_normally_distributed() -> None:
    found = petdiff.audit(image(measured(BODY)), image(BODY))
    assert list(found.deviations) == [8, 11.3, 16, 22.6, 32]
    for deviations in found.deviations.values():
        np.testing.assert_array_equal(deviations.affine, AFFINE)
        inside = deviations.values[BODY > 0.5]
        assert np.quantile(np.abs(inside), 0.5) < 1
        assert np.abs(inside).max() < 6


def test_small_voxels_are_joined_and_findings_name_the_scan_s_own() -> None:
    def fine(values: np.ndarray) -> petdiff.PETImage:
        affine = AFFINE.copy()
        affine[:3, :3] /= 4
        affine[:3, 3] -= AFFINE[:3, :3] @ np.full(3, 0.375)
        return petdiff.PETImage(values.repeat(4, 0).repeat(4, 1).repeat(4, 2), affine)

    cut = (slice(4, 40), slice(2, 38), slice(8, 44))
    y, x = measured(BODY)[cut].astype(np.float32), (BODY + LESION)[cut].astype(np.float32)
    found = petdiff.audit(fine(y), fine(x))
    assert all(3 <= mm <= 3.5 for mm in found.deviations[8.0].spacing_mm)
    (first,) = found.record.findings
    centre = 4 * (np.array(PLACE) - (4, 2, 8)) + 1.5
    assert np.abs(np.array(first.voxel) - centre).max() <= 6


@pytest.mark.parametrize("voxels", [20, 41])
def test_air_around_the_body_changes_no_finding(voxels: int) -> None:
    def within_air(values: np.ndarray, wide: int) -> petdiff.PETImage:
        affine = AFFINE.copy()
        affine[:3, 3] -= AFFINE[:3, :3] @ (3 * [wide])
        return replace(image(np.pad(values, wide)), affine=affine)

    pair = measured(BODY), BODY + LESION
    found, far = (
        petdiff.audit(*(within_air(values, wide) for values in pair)) for wide in (20, 20 + voxels)
    )
    [one], [other] = found.record.findings, far.record.findings
    assert one.position_mm == other.position_mm
    assert np.array(other.voxel).tolist() == (np.array(one.voxel) + voxels).tolist()
    assert other.z == pytest.approx(one.z, abs=0.01)
    for near, further in zip(found.deviations.values(), far.deviations.values(), strict=True):
        np.testing.assert_allclose(near.affine, further.affine)
        np.testing.assert_allclose(near.values, further.values, atol=1e-3)


def test_a_scan_without_a_body_has_nothing_to_audit() -> None:
    nothing = image(np.zeros_like(BODY))
    record = petdiff.audit(nothing, nothing).record
    assert record.empty
    assert record.verdict == "nothing to audit: the measured scan shows no body"


def test_the_faces_of_a_scan_are_left_out() -> None:
    def findings(plane: int) -> tuple[Finding, ...]:
        noisy = measured(BODY)
        noisy[24, 20, plane] += 20
        return petdiff.audit(image(noisy), image(BODY)).record.findings

    assert findings(0) == findings(-1) == ()
    (found,) = findings(12)
    assert found.kind == "omission"


def test_the_same_scan_twice_agrees() -> None:
    assert petdiff.audit(image(BODY), image(BODY)).record.findings == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: replace(x, values=x.values[1:]), "different voxels"),
        (
            lambda x: replace(x, affine=x.affine + np.outer([2, 0, 0, 0], [0, 0, 0, 1])),
            "different voxels",
        ),
        (lambda x: replace(x, in_suv=False, unit="BQML"), "is in SUV, the denoised one in Bq/ml"),
        (lambda x: x.with_values(3.5 * x.values), r"3\.51 times the activity"),
        (lambda x: x.with_values(np.where(x.values > 2, np.nan, x.values)), "no numbers"),
    ],
    ids=["shape", "place", "unit", "scale", "nan"],
)
def test_scans_that_cannot_be_compared_are_refused(
    change: Callable[[petdiff.PETImage], petdiff.PETImage], reason: str
) -> None:
    with pytest.raises(InputRefused, match=reason):
        petdiff.audit(image(measured(BODY)), change(image(BODY)))


def test_alpha_is_a_probability() -> None:
    with pytest.raises(UsageError, match="`alpha` is 5"):
        petdiff.audit(image(BODY), image(BODY), alpha=5)


@pytest.mark.parametrize(
    ("measured_contrast", "denoised_contrast", "kind"),
    [(0.1, 2, "fabrication"), (-1, 2, "fabrication"), (-0.1, -2, "fabrication"),
     (2, 0.1, "omission"), (2, -1, "omission"), (-2, 0, "omission"),
     (2, 1.1, "shift"), (1.1, 2, "shift"), (-2, -1.1, "shift")],
)  # fmt: skip
def test_kinds(measured_contrast: float, denoised_contrast: float, kind: str) -> None:
    assert finding_kind(measured_contrast, denoised_contrast) == kind
