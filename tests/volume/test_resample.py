"""Resampling preserves position, level and total, and agrees with another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from petdiff.volume.resample import cubic, cubic_integral, regrid, resample, resample_like

OBLIQUE = np.array(
    [
        [1.6 * 0.8, -2.0 * 0.6, 0.0, -40.0],
        [1.6 * 0.6, 2.0 * 0.8, 0.0, 25.0],
        [0.0, 0.0, 5.0, -300.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def world_mm(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, i, j, k] position of each voxel's centre."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    turned = np.tensordot(affine[:3, :3], index, axes=1)
    return np.asarray(turned + affine[:3, 3][:, None, None, None])


def blob(position_mm: NDArray[np.float64], sigma_mm: float) -> torch.Tensor:
    centre = position_mm.mean(axis=(1, 2, 3))[:, None, None, None]
    return torch.from_numpy(np.exp(-((position_mm - centre) ** 2).sum(0) / 2 / sigma_mm**2))


@pytest.mark.parametrize("spacing_mm", [(1.65, 1.65, 1.65), (4.0, 3.0, 2.5), (1.6, 2.0, 5.0)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (27, 30, 1), (7, 9, 11)])
def test_constant_is_reproduced_exactly(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    fine, affine = resample(torch.full(shape, 3.7, dtype=torch.float64), OBLIQUE, spacing_mm)
    torch.testing.assert_close(fine, torch.full_like(fine, 3.7), rtol=1e-12, atol=0)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), spacing_mm)


@pytest.mark.parametrize("spacing_mm", [(1.65, 1.65, 1.65), (4.0, 3.0, 7.5)])
def test_ramp_in_the_patient_stays_where_it_is(spacing_mm: tuple[float, float, float]) -> None:
    shape = (24, 25, 26)
    slope = np.array([0.3, -0.2, 0.05])
    ramp = torch.from_numpy(np.tensordot(slope, world_mm(shape, OBLIQUE), axes=1))
    moved, affine = resample(ramp, OBLIQUE, spacing_mm)
    expected = np.tensordot(slope, world_mm(tuple(moved.shape), affine), axes=1)
    inner = tuple(slice(n // 4, -(n // 4)) for n in moved.shape)
    np.testing.assert_allclose(moved.numpy()[inner], expected[inner], atol=1e-9)


@pytest.mark.parametrize("spacing_mm", [(1.1, 1.3, 2.0), (2.3, 3.7, 6.1)])
def test_total_activity_and_its_centre_are_preserved(
    spacing_mm: tuple[float, float, float],
) -> None:
    position_mm = world_mm((80, 64, 32), OBLIQUE)
    spot = blob(position_mm, sigma_mm=12.5)
    moved, affine = resample(spot, OBLIQUE, spacing_mm)
    before = spot.sum() * abs(np.linalg.det(OBLIQUE[:3, :3]))
    after = moved.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert float(after / before) == pytest.approx(1, abs=1e-3)
    weights = moved.numpy() / moved.numpy().sum()
    centre_mm = (world_mm(tuple(moved.shape), affine) * weights).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(centre_mm, position_mm.mean(axis=(1, 2, 3)), atol=0.01)


def test_coarsening_averages_instead_of_aliasing() -> None:
    checkerboard = torch.tensor([1.0, -1.0]).repeat(16).expand(8, 8, 32).contiguous()
    coarse, _ = resample(checkerboard, np.eye(4), (1, 1, 2))
    assert float(coarse[..., 3:-3].abs().max()) < 0.15
    shape, target = regrid(checkerboard.shape, np.eye(4), (1, 1, 2.2))
    folded = resample_like(checkerboard, np.eye(4), target, shape)
    assert float(folded.abs().max()) > 0.5


def test_refined_and_back_is_nearly_the_same() -> None:
    scan = blob(world_mm((30, 28, 12), OBLIQUE), sigma_mm=8.0)
    fine, affine = resample(scan, OBLIQUE, (1.1, 1.2, 1.65))
    back = resample_like(fine, affine, OBLIQUE, scan.shape)
    assert float((back - scan).abs().max()) < 5e-3


def test_integral_of_the_kernel_is_its_integral() -> None:
    x = np.linspace(-2.5, 2.5, 5001)
    steps = np.diff(x) * (cubic(x[1:]) + cubic(x[:-1])) / 2
    np.testing.assert_allclose(cubic_integral(x) + 0.5, np.append(0, steps.cumsum()), atol=1e-6)


def test_same_grid_is_untouched_and_batches_pass() -> None:
    batch = torch.rand(2, 3, 5, 6, 7)
    same, affine = resample(batch, OBLIQUE, (1.6, 2.0, 5.0))
    assert torch.equal(same, batch)
    np.testing.assert_array_equal(affine, OBLIQUE)
    halves, _ = resample(batch, OBLIQUE, (1, 1, 2))
    one, _ = resample(batch[1, 2], OBLIQUE, (1, 1, 2))
    torch.testing.assert_close(halves[1, 2], one)


def test_new_grid_covers_the_old_one() -> None:
    shape, affine = regrid((10, 10, 10), np.diag([2.0, 2, 2, 1]), (3, 1.65, 2.5))
    assert shape == (7, 13, 8)
    np.testing.assert_allclose(affine[:3, 3], [9 - 3 * 3, 9 - 6 * 1.65, 9 - 3.5 * 2.5])


def test_turned_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="parallel"):
        resample_like(torch.zeros(4, 4, 4), np.eye(4), OBLIQUE, (4, 4, 4))


@pytest.mark.oracle
def test_refining_agrees_with_another_library() -> None:
    sitk = pytest.importorskip("SimpleITK")
    scan = blob(world_mm((30, 28, 26), np.diag([1.6, 2.0, 2.5, 1.0])), sigma_mm=6.0)
    fine, affine = resample(scan, np.diag([1.6, 2.0, 2.5, 1.0]), (1.1, 1.2, 1.3))
    image = sitk.GetImageFromArray(scan.numpy().transpose(2, 1, 0))
    image.SetSpacing((1.6, 2.0, 2.5))
    size, origin, spacing = list(fine.shape), affine[:3, 3].tolist(), (1.1, 1.2, 1.3)
    cubic = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkBSpline3,
        origin,
        spacing,
        (1, 0, 0, 0, 1, 0, 0, 0, 1),
    )
    expected = sitk.GetArrayFromImage(cubic).transpose(2, 1, 0)
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(fine.numpy()[inner], expected[inner], atol=4e-3)
