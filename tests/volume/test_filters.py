from typing import Literal

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff.volume.filters import gaussian_smooth, smoothed_array, smoothed_ranges


@pytest.mark.parametrize("shape", [(9, 30, 17), (37, 70, 66), (1, 1, 1)])
@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
def test_gaussian_agrees_with_scipy(sigma: float, shape: tuple[int, int, int]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gaussian_filter(x.numpy(), sigma, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(gaussian_smooth(x, sigma).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sigma", [(0.0, 0.1, 2.0), (3.0, 1.2, 0.7)])
@pytest.mark.parametrize("shape", [(9, 70, 41), (1, 3, 2)])
def test_array_is_smoothed_as_by_scipy_in_either_order_in_memory(
    order: Literal["C", "F"], sigma: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    x = np.asarray(np.random.default_rng(0).random(shape, dtype=np.float32), order=order)
    smooth = smoothed_array(x, sigma)
    expected = gaussian_filter(x.astype(np.float64), sigma, mode="nearest")
    np.testing.assert_allclose(smooth, expected, atol=1e-6)
    assert smooth.dtype == np.float32
    assert smooth.flags[f"{order}_CONTIGUOUS"]


@pytest.mark.filterwarnings("error")
def test_array_may_be_read_only_or_have_reversed_axes() -> None:
    x = np.random.default_rng(0).random((6, 5, 9), dtype=np.float32)
    x.flags.writeable = False
    smooth = smoothed_array(x, (1.0, 2.0, 1.5))
    np.testing.assert_array_equal(smooth, smoothed_array(x.copy(), (1.0, 2.0, 1.5)))
    turned = smoothed_array(x[::-1, :, ::-1], (1.0, 2.0, 1.5))
    np.testing.assert_allclose(turned, smooth[::-1, :, ::-1], atol=1e-6)


def test_ranges_are_the_planes_of_the_whole_smoothed_volume() -> None:
    x = torch.rand(37, 70, 66, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = [(planes, part.clone()) for planes, part in smoothed_ranges(x, 2.0)]
    assert len(parts) > 1
    assert torch.equal(torch.cat([part for _, part in parts], dim=-1), gaussian_smooth(x, 2.0))
    assert [planes.stop for planes, _ in parts[:-1]] == [planes.start for planes, _ in parts[1:]]


def test_volumes_that_require_a_gradient_are_smoothed_alike() -> None:
    x = torch.rand(20, 40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smooth = gaussian_smooth(x.clone().requires_grad_(), 1.5)
    assert smooth.requires_grad
    torch.testing.assert_close(smooth.detach(), gaussian_smooth(x, 1.5), atol=1e-12, rtol=0)


def test_leading_axes_are_smoothed_one_by_one() -> None:
    x = torch.rand(2, 3, 9, 12, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = gaussian_smooth(x[1, 2], 1.5)
    torch.testing.assert_close(gaussian_smooth(x, 1.5)[1, 2], one, atol=1e-12, rtol=0)


def test_autocast_leaves_full_precision() -> None:
    x = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        smooth = gaussian_smooth(x, 1.0)
    assert torch.equal(smooth, gaussian_smooth(x, 1.0))
