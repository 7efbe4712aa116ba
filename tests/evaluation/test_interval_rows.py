"""Coverage and width of intervals as figures of a cohort."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import petdiff
from petdiff.evaluation.cohort import interval_rows as module
from petdiff.evaluation.cohort.definition import ComparedMethod
from petdiff.evaluation.cohort.interval_rows import interval_rows
from petdiff.evaluation.protocol import Case, prepare
from petdiff.image import PETImage
from petdiff.uncertainty.calibration.conformal import Bounds
from petdiff.uncertainty.calibration.record import BoundsOfGroup, Calibration, FigureCalibration
from petdiff.uncertainty.calibration.scale import ErrorScale

FLOW3D: Any = SimpleNamespace(
    one_call_gives_mean=True, default_samples=1, default_steps=1, sampling_steps=6
)


def a_calibration() -> Calibration:
    """Intervals of the activity times ±½ at 90 %, and nothing at other levels but 50 %.

    At 1/20 of the dose those of 90 % are twice as wide.
    """
    bounds = {"0.5": Bounds(-1e-3, 1e-3), "0.9": Bounds(-0.5, 0.5)}
    of_dose = BoundsOfGroup(facts={"drf": "20"}, patients=9, bounds={"0.9": Bounds(-1, 1)})
    voxel = FigureCalibration(
        figure="voxel",
        scale=ErrorScale(coefficients={"activity": 1.0}),
        errors=9,
        groups=(BoundsOfGroup(patients=9, bounds=bounds), of_dose),
    )
    return Calibration(
        weights_sha256="0" * 64, steps=1, patients="toys", voxel_mm=(4, 6), figures=(voxel,)
    )


def scan(mm: float = 4.0) -> tuple[PETImage, Case]:
    """A flat ball whose low-dose scan is 10 % too hot."""
    index = np.indices((16, 16, 16)) - 7.5
    full = (3.0 * ((index**2).sum(0) < 40) + 0.01).astype(np.float32)
    image = PETImage(1.1 * full, np.diag([mm, mm, mm, 1]))
    return image, prepare(full, image.spacing_mm, None, {}, [])


@pytest.fixture(autouse=True)
def calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"flow3d": a_calibration()}
    monkeypatch.setattr(module, "_calibration", found.get)


def test_share_of_voxels_within_their_interval_and_its_width() -> None:
    low, case = scan()
    found = interval_rows(ComparedMethod(model="flow3d"), FLOW3D, low, 4.0, low.suv, case)
    rows = {row.metric: row for row in found}
    assert set(rows) == {"within_interval_50", "within_interval_90", "interval_width_90"}
    activity = gaussian_filter(low.suv, 2.0, mode="nearest")
    for percent, half in ((50, 1e-3), (90, 0.5)):
        lower, upper = np.maximum(low.suv - half * activity, 0), low.suv + half * activity
        within = ((lower <= case.reference) & (case.reference <= upper))[case.body]
        assert rows[f"within_interval_{percent}"].value == pytest.approx(within.mean())
        if percent == 90:
            width = (upper - lower)[case.body].mean()
            assert rows["interval_width_90"].value == pytest.approx(width, rel=1e-5)
    assert rows["within_interval_50"].value != rows["within_interval_90"].value
    assert rows["interval_width_90"].unit == "SUV"


@pytest.mark.parametrize("told", [True, False])
def test_a_model_that_is_given_the_dose_has_its_bounds(told: bool) -> None:
    low, case = scan()
    asked = ComparedMethod(model="flow3d", tell_dose=told)
    (width,) = (
        row.value
        for row in interval_rows(asked, FLOW3D, low, 20.0, low.suv, case)
        if row.metric == "interval_width_90"
    )
    expected = petdiff.voxel_intervals(low, low, a_calibration(), drf=20 if told else None)
    lower, upper = (bound.suv[case.body] for bound in expected)
    assert width == pytest.approx((upper - lower).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        ComparedMethod(model="measured"),
        ComparedMethod(model="unet3d"),
        ComparedMethod(model="flow3d", steps=4),
    ],
    ids=["filter", "no calibration", "other steps"],
)
def test_what_has_no_calibrated_answer_has_no_rows(asked: ComparedMethod) -> None:
    low, case = scan()
    method = None if asked.is_filter else FLOW3D
    assert not list(interval_rows(asked, method, low, 4.0, low.suv, case))


@pytest.mark.parametrize("in_one_call", [True, False])
def test_image_of_several_samples_is_that_of_one_call_where_the_method_has_one(
    in_one_call: bool,
) -> None:
    low, case = scan()
    method: Any = SimpleNamespace(one_call_gives_mean=in_one_call, sampling_steps=6)
    asked = ComparedMethod(model="flow3d", samples=3)
    assert bool(list(interval_rows(asked, method, low, 4.0, low.suv, case))) == in_one_call


def test_voxels_that_were_not_calibrated_have_no_rows() -> None:
    low, case = scan(mm=1.65)
    assert not list(interval_rows(ComparedMethod(model="flow3d"), FLOW3D, low, 4.0, low.suv, case))
