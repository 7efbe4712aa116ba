"""Figures of regions against SimpleITK, brute force and geometry."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.measurement.figures import region_figures
from petdiff.measurement.region import ball_region, label_regions, mask_region
from support.measured_run import AFFINE, noisy_scan


@pytest.fixture(scope="module")
def scan() -> PETImage:
    return noisy_scan()


def blocks() -> np.ndarray:
    """Two regions that touch, of different sizes."""
    labels = np.zeros((20, 20, 20), np.int32)
    labels[3:9, 4:9, 5:12] = 3
    labels[9:13, 4:9, 5:7] = 7
    return labels


@pytest.mark.oracle
def test_mean_maximum_and_volume_are_those_of_simpleitk(scan: PETImage) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image, labels = sitk.GetImageFromArray(scan.values), sitk.GetImageFromArray(blocks())
    for one in (image, labels):  # arrays are [k, j, i] there
        one.SetSpacing([float(size) for size in scan.spacing_mm[::-1]])
    oracle = sitk.LabelShapeStatisticsImageFilter()
    oracle.Execute(labels)
    values = sitk.LabelStatisticsImageFilter()
    values.Execute(image, labels)
    regions = label_regions(blocks(), {3: "big"}, {}, scan)
    assert [one.name for one in regions] == ["big", "label 7"]
    for number, one in zip((3, 7), regions, strict=True):
        found = region_figures(one, scan.values, scan.spacing_mm)
        assert found["mean"] == pytest.approx(values.GetMean(number), rel=1e-6)
        assert found["max"] == pytest.approx(values.GetMaximum(number), rel=1e-6)
        volume_ml = oracle.GetPhysicalSize(number) / 1000
        assert one.volume_ml == pytest.approx(volume_ml, rel=1e-6)
        assert found["tlg"] == pytest.approx(volume_ml * values.GetSum(number) / one.voxels)


def test_the_peak_is_the_hottest_cubic_centimetre_of_all_spheres(scan: PETImage) -> None:
    region = mask_region(blocks() == 3, scan)
    fine = 9  # points across a voxel
    steps = (np.arange(fine) + 0.5) / fine - 0.5
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    reach = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    size = np.array(scan.spacing_mm)
    radius = 10 * (3 / (4 * np.pi)) ** (1 / 3)
    points = (reach[:, None] + offsets) * size
    shares = (np.linalg.norm(points, axis=2) <= radius).mean(axis=1)
    means = [
        float(shares @ scan.values[tuple((reach + centre).T)] / shares.sum())
        for centre in np.argwhere(blocks() == 3)
    ]
    found = region_figures(region, scan.values, scan.spacing_mm)["peak"]
    assert found == pytest.approx(max(means), rel=0.01)


def test_a_ball_has_its_analytic_volume_and_centre(scan: PETImage) -> None:
    one = ball_region((-10, 10, 540), 17, scan)
    assert one.volume_ml == pytest.approx(4 / 3 * np.pi * 1.7**3)
    assert one.voxels * np.prod(scan.spacing_mm) / 1000 == pytest.approx(one.volume_ml, rel=0.01)
    np.testing.assert_allclose(one.centre_mm(AFFINE), (-10, 10, 540), atol=0.1)


def test_in_an_even_scan_every_figure_is_the_value(scan: PETImage) -> None:
    even = np.full(scan.shape, 3, np.float32)
    found = region_figures(ball_region((-10, 10, 540), 17, scan), even, scan.spacing_mm)
    assert (found["mean"], found["max"], found["peak"]) == pytest.approx((3, 3, 3), rel=1e-6)
    assert found["mtv_41"] is None  # its contour goes on beyond the ball


def test_the_41_percent_volume_of_a_hot_ball_is_its_own(scan: PETImage) -> None:
    ball = ball_region((-10, 10, 540), 12, scan)
    core = np.zeros(scan.shape, bool)
    core[ball.mask.box] = ball.mask.core
    values = np.where(core, 10, 1).astype(np.float32)
    found = region_figures(ball, values, scan.spacing_mm)
    assert found["mtv_41"] == pytest.approx(core.sum() * np.prod(scan.spacing_mm) / 1000)
    organ = mask_region(core, scan, kind="organ")
    assert region_figures(organ, values, scan.spacing_mm)["mtv_41"] is None


@pytest.mark.parametrize(
    ("centre", "radius", "reason"),
    [
        ((-10, 10, 540), 1.0, "smaller than a voxel"),
        ((900, 0, 0), 10, "is in the scan's field of view"),
    ],
)
def test_impossible_balls_are_refused(
    scan: PETImage, centre: tuple[float, float, float], radius: float, reason: str
) -> None:
    with pytest.raises(InputRefused, match=reason):
        ball_region(centre, radius, scan)


def test_a_ball_at_the_end_counts_with_the_part_that_is_seen(scan: PETImage) -> None:
    edge = AFFINE @ [10, 10, -0.5 + 5 / 4.5, 1]  # 5 mm from the end of the first slice
    one = ball_region(edge[:3], 15, scan)
    assert one.cut
    share = (2 + 3 * (5 / 15) - (5 / 15) ** 3) / 4
    assert one.volume_ml == pytest.approx(share * 4 / 3 * np.pi * 1.5**3, rel=0.02)
    even = np.full(scan.shape, 3, np.float32)
    assert region_figures(one, even, scan.spacing_mm)["tlg"] == pytest.approx(3 * one.volume_ml)


def test_empty_and_foreign_masks_are_refused(scan: PETImage) -> None:
    with pytest.raises(InputRefused, match="empty"):
        mask_region(np.zeros(scan.shape, bool), scan)
    with pytest.raises(InputRefused, match="voxels"):
        mask_region(np.ones((3, 3, 3), bool), scan)
