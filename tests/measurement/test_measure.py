"""Measuring two scans: intervals where the calibration holds, and a reason where it does not."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import petdiff
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.measurement.figures import FIGURES, FigureName
from petdiff.measurement.record import MeasuredFigure
from petdiff.measurement.region import ball_region, mask_region
from petdiff.uncertainty.calibration.conformal import Bounds
from support.measured_run import ABOVE, AT_QUARTER, BELOW, easy_calibration, noisy_scan


@pytest.fixture(scope="module")
def scan() -> PETImage:
    return noisy_scan()


@pytest.fixture(scope="module")
def denoised(scan: PETImage) -> PETImage:
    return scan.with_values(0.9 * scan.values)


def box(scan: PETImage, side: int) -> np.ndarray:
    mask = np.zeros(scan.shape, bool)
    mask[2 : 2 + side, 2 : 2 + side, 2 : 2 + side] = True
    return mask


def around(figure: MeasuredFigure, above: float = ABOVE) -> None:
    """Assert that an interval is that of the easy calibration."""
    assert figure.denoised is not None
    assert figure.lower == pytest.approx((1 + BELOW) * figure.denoised, rel=1e-5)
    assert figure.upper == pytest.approx((1 + above) * figure.denoised, rel=1e-5)


def test_every_calibrated_figure_has_its_interval(scan: PETImage, denoised: PETImage) -> None:
    ball = ball_region((-10, 10, 540), 12, scan, kind="lesion")
    found = petdiff.measure(scan, denoised, [ball], calibration=easy_calibration())
    row = found.region("sphere")
    assert [one.figure for one in row.figures] == list(FIGURES)
    assert row.patients == 30
    for one in row.figures:
        around(one)
        if one.figure != "mtv_41":
            assert one.denoised == pytest.approx(0.9 * (one.measured or 0), rel=1e-5)


def test_a_label_map_as_mask_counts_each_voxel_once(scan: PETImage) -> None:
    region = mask_region(7 * box(scan, 5).astype(np.int32), scan)
    assert region.volume_ml == pytest.approx(125 * 4 * 5 * 4.5 / 1000)


def test_a_resampled_label_map_keeps_the_volume_at_its_faces(
    scan: PETImage, tmp_path: Path
) -> None:
    """Programs crop a mask to the region, which then reaches to all faces of its grid."""
    coarse = scan.affine @ [[3, 0, 0, 7], [0, 3, 0, 7], [0, 0, 3, 7], [0, 0, 0, 1]]
    mask = nib.Nifti1Image(np.ones((2, 3, 2), np.uint8), coarse)
    nib.save(mask, tmp_path / "mask.nii")  # voxels 6 … 11, 6 … 14, 6 … 11
    region = petdiff.read_regions(tmp_path / "mask.nii", scan, resample=True)[0]
    whole = np.zeros(scan.shape)
    whole[region.mask.box] = region.mask.weights
    assert whole[6:12, 6:15, 6:12].all()
    assert region.voxels == 6 * 9 * 6


def test_an_unknown_kind_is_refused(scan: PETImage) -> None:
    with pytest.raises(UsageError, match="`kind` is tumour: give lesion, organ, sphere, focus"):
        mask_region(box(scan, 5), scan, kind="tumour")  # type: ignore[arg-type]


def test_the_total_has_the_interval_of_the_mean_times_the_volume(
    scan: PETImage, denoised: PETImage
) -> None:
    region = mask_region(box(scan, 5), scan)
    whole = easy_calibration()
    of_means = tuple(one for one in whole.figures if one.figure == "suv_mean")
    calibration = whole.model_copy(update={"figures": of_means})
    found = petdiff.measure(scan, denoised, [region], calibration=calibration)
    mean, total = (found.regions[0].figure(name) for name in ("mean", "tlg"))
    volume_ml = 125 * 4 * 5 * 4.5 / 1000
    for name in ("measured", "denoised", "lower", "upper"):
        assert getattr(total, name) == pytest.approx(volume_ml * getattr(mean, name))


def test_a_known_dose_has_bounds_of_its_own(scan: PETImage, denoised: PETImage) -> None:
    region = mask_region(box(scan, 5), scan)
    for drf, above in ((4, AT_QUARTER), (10, ABOVE), (None, ABOVE)):
        found = petdiff.measure(scan, denoised, [region], calibration=easy_calibration(), drf=drf)
        around(found.regions[0].figure("mean"), above)


def test_an_interval_is_of_the_level_that_is_asked_for(scan: PETImage, denoised: PETImage) -> None:
    whole = easy_calibration()
    everyone = whole.figures[0].groups[0]
    both = everyone.bounds | {"0.5": Bounds(BELOW / 2, ABOVE / 2)}
    groups = (everyone.model_copy(update={"bounds": both}),)
    figures = tuple(one.model_copy(update={"groups": groups}) for one in whole.figures)
    calibration = whole.model_copy(update={"figures": figures})
    region = mask_region(box(scan, 5), scan)
    for level, share in ((0.5, 0.5), (0.9, 1)):
        found = petdiff.measure(scan, denoised, [region], calibration=calibration, level=level)
        mean = found.regions[0].figure("mean")
        assert found.level == level
        assert mean.lower == pytest.approx((1 + share * BELOW) * mean.denoised)
        assert mean.upper == pytest.approx((1 + share * ABOVE) * mean.denoised)


@pytest.mark.parametrize(
    ("kind", "side", "without", "reason"),
    [
        ("organ", 6, ("peak",), "the peak of organs was not calibrated"),
        ("lesion", 10, ("mean", "max", "peak", "tlg"), "lesions of 0.05 to 25 ml"),
    ],
)
def test_what_was_not_calibrated_has_a_reason_and_no_interval(
    scan: PETImage,
    denoised: PETImage,
    kind: str,
    side: int,
    without: tuple[FigureName, ...],
    reason: str,
) -> None:
    region = mask_region(box(scan, side), scan, kind=kind)  # type: ignore[arg-type]
    row = petdiff.measure(scan, denoised, [region], calibration=easy_calibration()).regions[0]
    refused = {one.figure for one in row.figures if one.no_interval} - {"mtv_41"}
    assert refused == set(without)
    for name in without:
        figure = row.figure(name)
        assert reason in figure.no_interval
        assert figure.lower is figure.upper is None
        assert figure.denoised is not None


def test_a_volume_that_only_the_denoised_scan_has_tells_why_it_has_no_interval(
    scan: PETImage, denoised: PETImage
) -> None:
    """The 41 % contour of a noisy scan may run into its surroundings."""
    leaking = scan.with_values(np.maximum(scan.values, scan.values.max() / 2))
    ball = ball_region((-10, 10, 540), 12, scan, kind="lesion")
    row = petdiff.measure(leaking, denoised, [ball], calibration=easy_calibration()).regions[0]
    volume = row.figure("mtv_41")
    assert volume.measured is volume.lower is None
    assert volume.denoised is not None
    assert volume.no_interval == "no interval: the measured scan has no 41 % volume"


def test_without_a_calibration_there_are_figures_alone(scan: PETImage, denoised: PETImage) -> None:
    found = petdiff.measure(scan, denoised, [mask_region(box(scan, 5), scan)])
    assert found.level is None
    assert all(one.lower is None and not one.no_interval for one in found.regions[0].figures)


def test_what_cannot_have_an_interval_is_refused(scan: PETImage, denoised: PETImage) -> None:
    regions = [mask_region(box(scan, 5), scan)]
    calibration = easy_calibration()
    for level, drf, reason in (
        (0.99, None, "99 calibration patients"),
        (0.9, 100.0, "the dose is 1/100, and the model was calibrated at 1/4 to 1/20"),
    ):
        with pytest.raises(InputRefused, match=reason):
            petdiff.measure(scan, denoised, regions, calibration=calibration, level=level, drf=drf)
    fine = PETImage(scan.values, np.diag([2.0, 2, 2, 1]))
    with pytest.raises(InputRefused, match="voxels of 2 mm"):
        petdiff.measure(fine, fine, regions, calibration=calibration)
    voxels = calibration.model_copy(update={"figures": ()})
    with pytest.raises(InputRefused, match="voxels only"):
        petdiff.measure(scan, denoised, regions, calibration=voxels)


def test_scans_that_do_not_belong_together_are_refused(scan: PETImage, denoised: PETImage) -> None:
    regions = [mask_region(box(scan, 5), scan)]
    moved = PETImage(scan.values, scan.affine + np.eye(4, k=3))
    with pytest.raises(UsageError, match="different grids"):
        petdiff.measure(scan, moved, regions)
    raw = PETImage(scan.values, scan.affine, unit="BQML", in_suv=False)
    with pytest.raises(UsageError, match="Bq/ml"):
        petdiff.measure(scan, raw, regions)
    with pytest.raises(InputRefused, match="no region"):
        petdiff.measure(scan, denoised, [])
    with pytest.raises(UsageError, match="known are region"):
        petdiff.measure(scan, denoised, regions).region("liver")


def test_a_scan_without_suv_is_measured_in_its_own_unit(scan: PETImage) -> None:
    raw = PETImage(1000 * scan.values, scan.affine, unit="BQML", in_suv=False)
    ball = ball_region((-10, 10, 540), 12, raw, kind="lesion")
    found = petdiff.measure(raw, raw, [ball], calibration=easy_calibration())
    units = [one.unit for one in found.regions[0].figures]
    assert units == ["Bq/ml", "Bq/ml", "Bq/ml", "Bq/ml·ml", "ml"]
    around(found.regions[0].figure("mean"))
