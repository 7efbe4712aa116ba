import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff.volume.filters import gaussian_smooth


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
def test_gaussian_agrees_with_scipy(sigma: float) -> None:
    x = torch.rand(9, 30, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gaussian_filter(x.numpy(), sigma, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(gaussian_smooth(x, sigma).numpy(), expected, atol=1e-12)


def test_leading_axes_are_smoothed_one_by_one() -> None:
    x = torch.rand(2, 3, 9, 12, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = gaussian_smooth(x[1, 2], 1.5)
    torch.testing.assert_close(gaussian_smooth(x, 1.5)[1, 2], one, atol=1e-12, rtol=0)


def test_autocast_leaves_full_precision() -> None:
    x = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        smooth = gaussian_smooth(x, 1.0)
    assert torch.equal(smooth, gaussian_smooth(x, 1.0))
