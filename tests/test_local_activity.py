import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff.methods.local_activity import CHANNELS, gaussian, local_activity, noise_ratio


@pytest.fixture
def scan() -> torch.Tensor:
    """Warm background with a hot sphere and Gaussian noise of 10 % of the background."""
    generator = torch.Generator().manual_seed(1)
    i, j, k = torch.meshgrid(*[torch.arange(n) for n in (40, 36, 44)], indexing="ij")
    y = torch.ones(40, 36, 44)
    y[(i - 20) ** 2 + (j - 18) ** 2 + (k - 20) ** 2 < 36] = 30.0
    return (y + 0.1 * torch.randn(y.shape, generator=generator)).clamp(min=0)


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
def test_gaussian_agrees_with_scipy(sigma: float) -> None:
    x = torch.rand(9, 30, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gaussian_filter(x.numpy(), sigma, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(gaussian(x, sigma).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("factor", [0.01, 2.0, 1000.0])
def test_fields_do_not_know_the_scale(scan: torch.Tensor, factor: float) -> None:
    torch.testing.assert_close(
        local_activity(factor * scan).fields, local_activity(scan).fields, atol=1e-4, rtol=1e-4
    )


def test_activity_scales_with_the_scan(scan: torch.Tensor) -> None:
    torch.testing.assert_close(
        local_activity(7 * scan).activity, 7 * local_activity(scan).activity, rtol=1e-5, atol=0
    )


def test_decoding_the_measured_ratio_gives_back_the_scan(scan: torch.Tensor) -> None:
    seen = local_activity(scan)
    torch.testing.assert_close(seen.decode(seen.fields[0]), scan, atol=1e-5, rtol=1e-5)


def test_scan_noise_is_that_of_the_background_whatever_the_hot_organ(scan: torch.Tensor) -> None:
    seen = local_activity(scan)
    # White noise of 0.1, less what a Gaussian of σ 1 keeps of it, over 1 + the far share.
    kept = 1 - 2 / (2 * np.pi) ** 1.5 + 1 / (4 * np.pi) ** 1.5
    expected = noise_ratio(seen.fields[3])
    assert expected.median().item() == pytest.approx(0.1 / 1.03 * np.sqrt(kept), rel=0.1)


def test_hot_organs_are_expected_to_have_less_noise(scan: torch.Tensor) -> None:
    seen = local_activity(scan)
    hot, warm = seen.activity.argmax(), (20, 18, 40)
    less = noise_ratio(seen.fields[3]).flatten()[hot] / noise_ratio(seen.fields[3])[warm]
    hotter = seen.activity.max() / seen.activity[warm]
    assert hotter > 20
    assert less.item() == pytest.approx(hotter.item() ** -0.4, rel=1e-3)


def answer_of(r: torch.Tensor, trust: float = 0.0) -> torch.Tensor:
    """r as the network answers it, with the same trust in the scan at every fine scale."""
    return torch.stack([r, *[torch.full_like(r, trust)] * (CHANNELS - 1)])


def test_a_trusted_scan_keeps_its_finest_activity_a_distrusted_one_its_regions() -> None:
    y = 1 + torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(3))
    seen = local_activity(y)
    flat = torch.zeros_like(y)  # all that the scan shows, but for its local activity, smoothed away
    left = {
        trust: (gaussian(seen.decode(seen.settle(answer_of(flat, trust))), 1.0) - gaussian(y, 1.0))
        for trust in (-50.0, 50.0)
    }
    assert 3 * left[50.0].std() < left[-50.0].std()


def test_regional_activity_is_kept_whatever_the_network_changed(scan: torch.Tensor) -> None:
    seen = local_activity(scan)
    wrong = 1.3 * (1 + gaussian(seen.fields[0], 0.8)) - 1  # smoother, and 30 % too hot
    before, after = (gaussian(seen.decode(r), 4.0) for r in (wrong, seen.settle(answer_of(wrong))))
    truth = gaussian(scan, 4.0)
    assert ((before / truth - 1).abs() > 0.2).float().mean() > 0.9
    assert (after / truth - 1).abs().max() < 0.04


def test_keeping_activity_leaves_the_measured_scan_alone(scan: torch.Tensor) -> None:
    seen = local_activity(scan)
    torch.testing.assert_close(
        seen.settle(answer_of(seen.fields[0])), seen.fields[0], atol=1e-5, rtol=1e-5
    )


def test_activity_is_positive_where_nothing_was_measured() -> None:
    y = torch.zeros(24, 24, 24)
    y[:4] = 1.0
    seen = local_activity(y)
    assert (seen.activity > 0).all()
    assert seen.fields.isfinite().all()
