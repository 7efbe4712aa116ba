"""The audit and the alarm give figures of a cohort."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.evaluation.cohort import check_rows as module
from petdiff.evaluation.cohort.check_rows import alarm_rows, audit_rows
from petdiff.evaluation.cohort.definition import ComparedMethod
from petdiff.evaluation.protocol import prepare
from petdiff.uncertainty.alarm.features import scan_features
from petdiff.uncertainty.alarm.reference import Reference
from petdiff.uncertainty.audit.confirmation import is_confirmed
from petdiff.uncertainty.audit.record import Finding
from petdiff.uncertainty.audit.scales import at_scales
from support.audited import PLACE, VOXEL_MM, body, image, lesion, measured

BODY = body()
LESION = lesion(5.0)
MODEL = ComparedMethod(model="flow3d")


def found(data: np.ndarray, answer: np.ndarray, full: np.ndarray) -> dict[str, float | None]:
    case = prepare(full, image(full).spacing_mm)
    rows = audit_rows(MODEL, image(data), np.asarray(answer, dtype=np.float32), case)
    return {row.metric: row.value for row in rows}


@pytest.mark.parametrize(
    ("in_data", "in_answer", "in_full", "expected"),
    [
        (0, 0, 0, (0, 0, 0)),
        (0, 1, 0, (1, 0, 0)),
        (1, 0, 1, (0, 1, 0)),
        (1, 0, 0, (0, 1, 1)),
    ],
    ids=["agrees", "painted", "wiped", "only noise was wiped"],
)
def test_findings_are_counted_and_the_full_dose_scan_says_which_are_false(
    in_data: int, in_answer: int, in_full: int, expected: tuple[int, int, int]
) -> None:
    rows = found(
        measured(BODY + in_data * LESION), BODY + in_answer * LESION, BODY + in_full * LESION
    )
    names = ("audit_fabrications", "audit_omissions", "audit_false_alarms")
    assert tuple(rows[name] for name in names) == expected


def test_the_measured_scan_and_an_answer_that_cannot_be_audited_have_no_rows() -> None:
    assert found(measured(BODY), 5 * BODY, BODY) == {}
    case = prepare(BODY, image(BODY).spacing_mm)
    assert not list(audit_rows(ComparedMethod(model="measured"), image(BODY), BODY, case))


def test_a_finding_is_seen_at_the_audit_s_scale() -> None:
    """Its contrast is that of `at_scales`, so that a reference between the two decides alike."""
    scale = list(at_scales(LESION, (VOXEL_MM,) * 3))[1]
    finding = Finding(
        kind="omission", position_mm=(0, 0, 0), voxel=PLACE, diameter_mm=2 * scale.radius_mm,
        measured=1, denoised=0, z=6, p=0,
    )  # fmt: skip
    nothing, whole = image(np.zeros_like(LESION)), image(LESION)
    assert scale.contrast[PLACE] > 0
    assert is_confirmed(finding, whole, nothing, image(0.55 * LESION))
    assert not is_confirmed(finding, whole, nothing, image(0.45 * LESION))
    shifted = image(np.roll(LESION, 12, axis=0))  # a focus elsewhere confirms nothing
    assert not is_confirmed(finding, whole, nothing, shifted)


def test_an_alarm_is_a_figure_of_a_model_with_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = [image(measured(BODY + lesion(suv), seed)) for seed, suv in enumerate((2, 3, 4, 5))]
    usual = Reference.fit(
        [scan_features(one) for one in scans], weights_sha256="", what="toys", threshold=6
    )
    monkeypatch.setattr(module, "_reference", {"flow3d": usual}.get)
    raised = []
    for values in (scans[0].values, (np.arange(48 * 40 * 44) % 7 > 3).reshape(BODY.shape)):
        rows = {row.metric: row.value for row in alarm_rows(MODEL, image(values))}
        assert rows["alarm_score"] == usual.compare(scan_features(image(values))).score
        raised.append(rows["alarms"])
    assert raised == [0, 1]
    assert not list(alarm_rows(ComparedMethod(model="unet3d"), scans[0]))
    assert not list(alarm_rows(ComparedMethod(model="gaussian"), scans[0]))
