"""Calibrations: intervals that hold, refusals in one line, and files tied to their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import petdiff
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.uncertainty.calibration.conformal import Bounds
from petdiff.uncertainty.calibration.features import (
    FIGURE_FEATURES,
    ScanFeatures,
    figure_features,
    region_features,
)
from petdiff.uncertainty.calibration.fit import PatientErrors, fit_figure
from petdiff.uncertainty.calibration.record import (
    BoundsOfGroup,
    CalibratedFigure,
    Calibration,
    FigureCalibration,
    Interval,
    Refused,
    RegionKind,
    load_calibration,
    save_calibration,
)
from petdiff.uncertainty.calibration.scale import ErrorScale, fit_scale

DIGEST = "0" * 64
MM_4 = (4.0, 4.0, 4.0)


def region(factor: float = 1.0, noise: float = 1.0, activity: float = 4.0) -> dict[str, float]:
    """Return what `region_features` does; toys use noise and activity alone."""
    rest = dict.fromkeys(("edge", "change", "noise_of_mean", "shift", "contrast"), 0.0)
    found = {name: factor * value for name, value in rest.items()}
    return found | {"noise": factor * noise, "activity": factor * activity, "volume_ml": 5.0}


def patients(count: int, seed: int, bias: float = 0.0) -> list[PatientErrors]:
    """Patients with 1 to 9 regions whose errors follow two features, and a level of their own."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        size = int(rng.integers(1, 10))
        noise, activity = rng.uniform(0.1, 2, size), rng.uniform(1, 9, size)
        own = rng.lognormal(0, 0.4)
        reference = activity + bias + own * (noise + 0.1 * activity) * rng.laplace(size=size)
        tracer = np.full(size, "fdg" if n % 2 else "psma")
        features = {"noise": noise, "activity": activity}
        found.append(
            PatientErrors(reference, activity, activity + noise, features, {"tracer": tracer})
        )
    return found


def calibration(count: int = 60) -> Calibration:
    figure = fit_figure(
        "suv_mean", "lesion", patients(40, 1), patients(count, 2), ["noise", "activity"], ["tracer"]
    )
    voxel = fit_figure("voxel", None, patients(40, 3), patients(count, 4), ["noise", "activity"])
    assert figure is not None
    assert voxel is not None
    return Calibration(
        weights_sha256=DIGEST, steps=1, patients="toys", voxel_mm=(4, 6), figures=(figure, voxel)
    )


def test_scale_finds_the_coefficients_that_made_the_errors() -> None:
    rng = np.random.default_rng(0)
    features = [
        {"noise": rng.uniform(0, 2, 400), "activity": rng.uniform(0, 2, 400)} for _ in range(30)
    ]
    errors = [(0.5 * f["noise"] + 0.2 * f["activity"]) * rng.laplace(size=400) for f in features]
    found = fit_scale(errors, features, ["noise", "activity"]).coefficients
    assert found == pytest.approx({"noise": 0.5, "activity": 0.2}, rel=0.1)


def test_each_patient_counts_once_for_the_scale() -> None:
    """A constant scale of Laplace's distribution is the mean size of the errors."""
    sizes = {100: 1.0, 1: 3.0}
    errors = [np.full(count, size) for count, size in sizes.items()]
    found = fit_scale(errors, [{"one": np.ones(count)} for count in sizes], ["one"])
    assert found.coefficients["one"] == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize(("share", "kept"), [(0.02, True), (0.001, False), (0, False)])
def test_a_feature_without_a_share_in_the_scale_has_no_coefficient(
    share: float, kept: bool
) -> None:
    noise, edge = np.random.default_rng(13).uniform(0, 2, (2, 500))
    features = [{"noise": noise, "edge": edge, "change": 0 * noise}]
    found = fit_scale([noise + share * edge], features, ["noise", "edge", "change"]).coefficients
    expected = {"noise": 1.0} | ({"edge": share} if kept else {})
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("bias", [0.0, 1.5])
def test_intervals_have_the_stated_coverage_for_new_patients(bias: float) -> None:
    figure = fit_figure(
        "suv_mean", None, patients(60, 5, bias), patients(199, 6, bias), ["noise", "activity"]
    )
    assert figure is not None
    for level in (0.5, 0.8, 0.9):
        low, high = figure.groups[0].bounds[f"{level:g}"]
        ratios = [
            one.errors(figure.toward_measured) / figure.scale(one.features)
            for one in patients(600, 7, bias)
        ]
        held = np.mean([np.mean((low <= one) & (one <= high)) for one in ratios])
        assert abs(held - level) < 0.07


def test_groups_with_enough_patients_have_bounds_of_their_own() -> None:
    def facts(count: int) -> list[dict[str, str]]:
        return [group.facts for group in calibration(count).figures[0].groups]

    assert facts(90) == [{}, {"tracer": "fdg"}, {"tracer": "psma"}]
    assert facts(30) == [{}]


def with_errors(errors: list[float], tracers: list[str]) -> list[PatientErrors]:
    """Patients with one region each, whose errors are of one size for all that is known of them."""
    one = np.ones(1)
    return [
        PatientErrors(
            np.array([error]), 0 * one, 0 * one, {"activity": one}, {"tracer": np.array([tracer])}
        )
        for error, tracer in zip(errors, tracers, strict=True)
    ]


def test_the_bounds_of_a_group_are_those_of_its_own_patients() -> None:
    tracers = ["fdg", "psma"] * 30
    errors = [10.0 if tracer == "fdg" else 1.0 for tracer in tracers]
    found = fit_figure(
        "suv_mean", None, patients(40, 1), with_errors(errors, tracers), ["activity"], ["tracer"]
    )
    assert found is not None
    everyone, fdg, psma = (group.bounds["0.9"].upper for group in found.groups)
    assert everyone == fdg == pytest.approx(10 * psma)


def test_bounds_have_the_shape_of_the_fitted_errors_and_widen_with_the_level() -> None:
    """The middle half of the fitted errors is from -1 to 1, the middle 80 % from -1 to 10."""
    fitted = with_errors([-1.0] * 45 + [1.0] * 40 + [10.0] * 15, ["fdg"] * 100)
    found = fit_figure("voxel", None, fitted, with_errors([1.0] * 50, ["fdg"] * 50), ["activity"])
    assert found is not None
    half, wide = (found.groups[0].bounds[level] for level in ("0.5", "0.8"))
    assert half.lower == pytest.approx(-half.upper)
    # The shape alone would give a tenth of it as lower bound.
    assert (wide.lower, wide.upper) == pytest.approx((half.lower, half.upper))


@pytest.mark.parametrize(("figure", "share"), [("suv_mean", 0.4), ("voxel", 0.0)])
def test_intervals_of_regions_are_centred_where_the_errors_are_least(
    figure: CalibratedFigure, share: float
) -> None:
    rng = np.random.default_rng(12)
    denoised, measured = rng.uniform(1, 9, (2, 60))
    reference = denoised + 0.4 * (measured - denoised) + 0.01 * rng.normal(size=60)
    given = [
        PatientErrors(*(v[n : n + 1] for v in (reference, denoised, measured)), {"one": ones}, {})
        for n, ones in enumerate(np.ones((60, 1)))
    ]
    found = fit_figure(figure, None, given[:30], given[30:], ["one"])
    assert found is not None
    assert found.toward_measured == pytest.approx(share, abs=0.03)


def by_hand() -> Calibration:
    """Intervals from minus once to plus three times twice the noise, about a weighted centre."""
    groups = (BoundsOfGroup(patients=30, bounds={"0.9": Bounds(-1, 3)}),)
    lesions, others = (
        FigureCalibration(
            figure="suv_mean", region=region, scale=ErrorScale(coefficients={"noise": noise}),
            toward_measured=0.25, errors=30, groups=groups,
        )
        for region, noise in (("lesion", 2.0), (None, 4.0))
    )  # fmt: skip
    return Calibration(
        weights_sha256=DIGEST, steps=1, patients="none", voxel_mm=(4, 6),
        region_ml={"lesion": (1, 10)}, figures=(others, lesions),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("denoised", "measured", "kind", "lower", "upper"),
    [
        (4, 8, "lesion", 5 - 1, 5 + 3),
        (4, 8, "organ", 5 - 2, 5 + 6),
        (4, 8, None, 5 - 2, 5 + 6),
        (-1, -2, "lesion", -2, -1.25 + 3),  # no lower than the lower of the two
    ],
)
def test_an_interval_is_the_bounds_times_the_scale_about_its_centre(
    denoised: float, measured: float, kind: RegionKind | None, lower: float, upper: float
) -> None:
    found = by_hand().interval(
        "suv_mean", denoised, measured, region(noise=0.5), spacing_mm=MM_4, region=kind
    )
    assert found == Interval(lower, upper, 0.9, 30)


@pytest.mark.parametrize(
    ("spacing_mm", "volume_ml", "refused"),
    [
        ((2, 2, 16), 5, ""),
        ((3.61, 3.61, 3.61), 0.91, ""),
        ((6.59, 6.59, 6.59), 10.9, ""),
        ((2, 2, 11), 5, "voxels of 3.53 mm"),
        ((6.7, 6.7, 6.7), 5, "voxels of 6.7 mm"),
        (MM_4, 0.89, "it has 0.89 ml"),
        (MM_4, 11.1, "it has 11.1 ml"),
    ],
)
def test_sizes_may_be_a_tenth_beyond_those_of_the_calibration(
    spacing_mm: tuple[float, float, float], volume_ml: float, refused: str
) -> None:
    features = region() | {"volume_ml": volume_ml}
    found = by_hand().interval("suv_mean", 4, 4, features, spacing_mm=spacing_mm, region="lesion")
    assert refused in found.reason if isinstance(found, Refused) else not refused


def test_the_group_of_the_scan_is_used_and_else_all_patients() -> None:
    given = calibration(90)
    features = region()

    def patients_behind(facts: dict[str, str]) -> int:
        found = given.interval("suv_mean", 4.0, 5.0, features, spacing_mm=MM_4, facts=facts)
        assert isinstance(found, Refused)  # it is of lesions, and the region is not known
        found = given.interval(
            "suv_mean", 4.0, 5.0, features, spacing_mm=MM_4, region="lesion", facts=facts
        )
        assert isinstance(found, Interval)
        return found.patients

    assert patients_behind({"tracer": "fdg", "scanner": "quadra"}) == 45
    assert patients_behind({"tracer": "fapi"}) == 90


def test_a_dose_outside_the_calibrated_range_is_refused() -> None:
    given = calibration()
    *others, voxel = given.figures
    everyone = voxel.groups[0]
    of_doses = [everyone.model_copy(update={"facts": {"drf": drf}}) for drf in ("4", "20")]
    voxel = voxel.model_copy(update={"groups": (everyone, *of_doses)})
    given = given.model_copy(update={"figures": (*others, voxel)})
    scan = PETImage(np.ones((8, 8, 8), np.float32), np.diag([*MM_4, 1]))
    for drf in (None, 4, 10, 20):  # at 1/10 the bounds of all scans are used
        petdiff.voxel_intervals(scan, scan, given, drf=drf)
    with pytest.raises(InputRefused, match="1/100, and the model was calibrated at 1/4 to 1/20"):
        petdiff.voxel_intervals(scan, scan, given, drf=100)


def test_a_scan_times_two_has_intervals_twice_as_wide() -> None:
    given = calibration()
    once, twice = (
        given.interval(
            "suv_mean", f * 4.0, f * 5.0, region(f),
            spacing_mm=MM_4, region="lesion",
        )
        for f in (1, 2)
    )  # fmt: skip
    assert isinstance(once, Interval)
    assert isinstance(twice, Interval)
    assert (twice.lower, twice.upper) == pytest.approx((2 * once.lower, 2 * once.upper))


def test_no_bound_is_below_zero_where_the_scans_are_not() -> None:
    found = calibration().interval(
        "suv_mean", 0.1, 0.1, region(noise=5), spacing_mm=MM_4, region="lesion"
    )
    assert isinstance(found, Interval)
    assert found.lower == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"level": 0.99}, "it takes 99 calibration patients, and the model has 60"),
        ({"level": 0.85}, "use one of the calibrated levels, 0.5, 0.8, 0.9, 0.95"),
        ({"figure": "suv_max"}, "suv_max has no interval"),
        ({"spacing_mm": (1.65, 1.65, 1.65)}, "voxels of 1.65 mm"),
        ({"features": {"noise": 1.0}}, "activity of the region is not known"),
    ],
)
def test_figures_without_calibration_are_refused_in_one_line(
    changed: dict[str, object], reason: str
) -> None:
    arguments: dict[str, object] = {
        "figure": "suv_mean", "denoised": 4.0, "measured": 4.0, "region": "lesion",
        "features": region(), "spacing_mm": MM_4,
    }  # fmt: skip
    found = calibration().interval(**(arguments | changed))  # type: ignore[arg-type]
    assert isinstance(found, Refused)
    assert reason in found.reason
    assert "\n" not in found.reason


def test_voxel_intervals_are_around_each_voxel() -> None:
    rng = np.random.default_rng(8)
    measured = rng.gamma(4, 0.5, (12, 10, 11)).astype(np.float32)
    denoised = np.full_like(measured, 2)
    found = calibration().voxel_intervals(measured, denoised, spacing_mm=MM_4)
    assert not isinstance(found, Refused)
    lower, upper = found
    assert lower.shape == upper.shape == measured.shape
    assert (lower < upper).all()
    assert (lower >= 0).all()


def test_features_of_a_scan_times_two_are_twice_as_large() -> None:
    rng = np.random.default_rng(9)
    measured = rng.gamma(4, 0.5, (12, 10, 11)).astype(np.float32)
    box = (slice(2, 8), slice(2, 8), slice(2, 8))
    weights = np.ones((6, 6, 6))

    def features(factor: float) -> dict[str, float]:
        scan, denoised = factor * measured, factor * np.full_like(measured, 2)
        return region_features(ScanFeatures.of(scan, denoised), scan, denoised, box, weights, 8.0)

    once, twice = features(1), features(2)
    assert twice.pop("volume_ml") == once.pop("volume_ml") == 8
    assert twice == pytest.approx({name: 2 * value for name, value in once.items()}, rel=1e-4)


def test_features_of_voxels_are_those_of_their_formulas() -> None:
    rng = np.random.default_rng(11)
    measured, denoised = rng.normal(1, 1, (2, 14, 12, 13)).astype(np.float32)

    def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
        return np.asarray(gaussian_filter(volume, sigma, mode="nearest"))

    expected = {
        "noise": np.sqrt(smooth((measured - smooth(measured, 1)) ** 2, 4)),
        "activity": smooth(np.maximum(measured, 0), 2),
        "edge": np.sqrt(smooth((denoised - smooth(denoised, 1)) ** 2, 1)),
        "change": np.abs(smooth(denoised, 1) - smooth(measured, 1)),
    }
    found = vars(ScanFeatures.of(measured, denoised))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_features_of_a_region_are_weighted_means_and_their_scatter() -> None:
    """A voxel in the region and one of which half is in it."""

    def voxels(first: float, second: float) -> np.ndarray:
        return np.array([first, second, 99]).reshape(3, 1, 1)

    scan = ScanFeatures(
        noise=voxels(1, 4), activity=voxels(6, 3), edge=voxels(0, 3), change=voxels(2, 2)
    )
    found = region_features(
        scan, voxels(6, 3), voxels(4, 1), (slice(0, 2), slice(0, 1), slice(0, 1)),
        np.array([1, 0.5]).reshape(2, 1, 1), 4.0,
    )  # fmt: skip
    assert found == pytest.approx(
        {
            "noise": (1 + 2) / 1.5, "activity": 5, "edge": 1, "change": 2, "noise_of_mean": 2 / 2,
            "shift": 5 - 3, "contrast": np.sqrt((1 + 0.5 * 2**2) / 1.5), "volume_ml": 4,
        }
    )  # fmt: skip


def test_features_of_volumes_and_of_variation_are_relative_to_the_activity() -> None:
    found = region(noise=1, activity=4) | {"contrast": 2.0, "change": 0.5}
    assert figure_features("volume_41_ml", found, 6.0) == {
        "value": 6, "noisy_volume": 6 / 4, "flat_volume": 6 / (1 + 0.5), "volume_ml": 5
    }  # fmt: skip
    assert figure_features("cov", found, 0.2) == {
        "value": 0.2, "noise": 0.25, "change": 0.125, "contrast": 0.5
    }  # fmt: skip


def test_errors_are_of_a_value_between_the_denoised_and_the_measured_one() -> None:
    one = PatientErrors(*(np.array([value]) for value in (10.0, 8.0, 12.0)), {}, {})
    assert [float(one.errors(share)[0]) for share in (0, 0.25, 1)] == [2, 1, -2]


@pytest.mark.parametrize("figure", ["suv_mean", "suv_max", "suv_peak", "volume_41_ml", "cov"])
def test_figures_have_the_features_of_their_table(figure: str) -> None:
    assert set(figure_features(figure, region(), 2.0)) == set(FIGURE_FEATURES[figure])


def test_noise_feature_is_the_standard_deviation_that_smoothing_removes() -> None:
    noise = np.random.default_rng(10).normal(size=(40, 40, 40)).astype(np.float32)
    found = float(ScanFeatures.of(10 + noise, 10 + 0 * noise).noise.mean())
    # White noise minus its smoothed self: 1 − 2 g(0) + ∫g², g a Gaussian of width 1 in 3-D.
    expected = np.sqrt(1 - 2 / (2 * np.pi) ** 1.5 + 1 / (4 * np.pi) ** 1.5)
    assert found == pytest.approx(expected, rel=0.02)


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    given = calibration()
    path = save_calibration(tmp_path / "own.safetensors", given)
    assert path.name == "own.calibration.json"
    assert load_calibration(tmp_path / "own.safetensors", DIGEST) == given


def test_weights_without_their_own_calibration_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "own.safetensors"
    with pytest.raises(InputRefused, match=r"own\.safetensors has no calibration"):
        load_calibration(weights, DIGEST)
    save_calibration(weights, calibration())
    with pytest.raises(InputRefused, match="calibration of other weights"):
        load_calibration(weights, "1" * 64)
    (tmp_path / "own.calibration.json").write_text("{}")
    with pytest.raises(InputRefused, match=r"no calibration .weights_sha256"):
        load_calibration(weights, DIGEST)


def test_coefficients_are_not_negative() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        ErrorScale(coefficients={"noise": -1.0})
