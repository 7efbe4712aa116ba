import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff.methods.local_activity import (
    OutputChannel,
    ScanChannel,
    local_activity,
    noise_ratio,
    spectral_noise,
)
from petdiff.simulation.scanner.exam import Exam
from petdiff.simulation.scanner.scan import scan as simulated
from petdiff.simulation.scanner.scanners import get_scanner
from petdiff.volume.filters import gaussian_smooth

RATIO, _, LOCAL_NOISE, EXPECTED_NOISE, _ = ScanChannel


@pytest.fixture
def scan() -> torch.Tensor:
    """Warm background with a hot sphere and Gaussian noise of 10 % of the background."""
    generator = torch.Generator().manual_seed(1)
    i, j, k = torch.meshgrid(*[torch.arange(n) for n in (40, 36, 44)], indexing="ij")
    y = torch.ones(40, 36, 44)
    y[(i - 20) ** 2 + (j - 18) ** 2 + (k - 20) ** 2 < 36] = 30.0
    return (y + 0.1 * torch.randn(y.shape, generator=generator)).clamp(min=0)


def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(gaussian_filter(volume, sigma, mode="reflect"))


@pytest.mark.parametrize(("drf", "lacking"), [(None, 0), (20, 0.95)])
def test_the_domain_is_that_of_its_formulas(drf: float | None, lacking: float) -> None:
    """Widths of 2, 6, 4 and 1 voxels, by scipy: noisy tissue, with a hot and a cold half."""
    rng = np.random.default_rng(0)
    y = rng.gamma(9, 1 / 9, (30, 26, 28))
    y[:, :9], y[:, 17:] = 20 * y[:, :9], 0.2 * y[:, 17:] - 0.1
    assert (y < 0).mean() > 0.01
    found = local_activity(torch.from_numpy(y), torch.float64, drf)

    positive = np.maximum(y, 0)
    level = np.sqrt(positive).mean() ** 2
    s = smooth(positive, 2) + 0.03 * smooth(positive, 6) + 0.001 * level
    np.testing.assert_allclose(found.activity, s, rtol=1e-9)
    rough = smooth(((y - smooth(positive, 1)) / s) ** 2, 4)
    local_noise = np.log(rough) / 2 + 1.9
    few = (slice(None, None, 2),) * 3
    body = s[few] >= 0.5 * s[few].mean()
    ordinary, most = (np.quantile(v[few][body], 0.5, method="lower") for v in (s, local_noise))
    spectral = spectral_noise(torch.from_numpy(y), found.activity)
    assert spectral is not None
    of_scan = np.clip(np.log(spectral.item()) + 1.9, most - np.log(8), most)
    expected_noise = of_scan - np.maximum(0.4 * np.log(s / ordinary), -0.3)
    assert expected_noise.max() == pytest.approx(of_scan + 0.3)  # cold tissue
    for field, expected in zip(
        found.fields,
        (y / s - 1, np.log(s) - smooth(np.log(s), 4), local_noise, expected_noise, lacking + 0 * s),
        strict=True,
    ):
        np.testing.assert_allclose(field, expected, atol=1e-6)

    white = rng.normal(size=y.shape)
    kept = 1 - 2 / (2 * np.pi) ** 1.5 + 1 / (4 * np.pi) ** 1.5  # of white noise in fine noise
    noise = s * np.exp(local_noise - 1.9) / np.sqrt(kept)
    error = found.regional_error(torch.from_numpy(white))
    np.testing.assert_allclose(error, np.sqrt(lacking or 1) * noise * smooth(white, 1), rtol=1e-4)


def test_the_spectrum_of_white_noise_tells_its_strength() -> None:
    """Its fine noise is white noise minus itself smoothed by a Gaussian of σ 1."""
    kept = 1 - 2 / (2 * np.pi) ** 1.5 + 1 / (4 * np.pi) ** 1.5
    white = torch.randn(48, 48, 48, generator=torch.Generator().manual_seed(6))
    found = spectral_noise(5 + 0.1 * white, torch.full_like(white, 5.0))
    assert found is not None
    assert found.item() == pytest.approx(0.1 / 5 * np.sqrt(kept), rel=0.15)


def test_the_noise_of_a_scan_is_at_most_that_around_its_voxels() -> None:
    """Noise of 7 mm in voxels of 2 mm, without anatomy: its spectrum tells a fifth too much."""
    white = torch.randn(40, 44, 36, generator=torch.Generator().manual_seed(2))
    noise = gaussian_smooth(white, 1.5)
    y = 5 + 0.1 * noise / noise.std()
    condition = local_activity(y)
    around, expected = (
        noise_ratio(condition.fields[n]).median() for n in (LOCAL_NOISE, EXPECTED_NOISE)
    )
    spectral = spectral_noise(y, condition.activity)
    assert spectral is not None
    assert spectral > 1.1 * around
    assert expected.item() == pytest.approx(around.item(), rel=0.01)


@pytest.mark.parametrize("factor", [0.01, 2.0, 1000.0])
def test_fields_do_not_depend_on_the_scale(scan: torch.Tensor, factor: float) -> None:
    torch.testing.assert_close(
        local_activity(factor * scan).fields, local_activity(scan).fields, atol=1e-4, rtol=1e-4
    )


def test_activity_scales_with_the_scan(scan: torch.Tensor) -> None:
    torch.testing.assert_close(
        local_activity(7 * scan).activity, 7 * local_activity(scan).activity, rtol=1e-5, atol=0
    )


def test_decoding_the_measured_ratio_restores_the_scan(scan: torch.Tensor) -> None:
    condition = local_activity(scan)
    torch.testing.assert_close(
        condition.decode(condition.fields[RATIO]), scan, atol=1e-5, rtol=1e-5
    )


def test_standard_deviation_includes_a_fifth_of_the_local_noise(scan: torch.Tensor) -> None:
    """The noise is white noise of 0.1 minus itself smoothed by a Gaussian of σ 1."""
    kept = 1 - 2 / (2 * np.pi) ** 1.5 + 1 / (4 * np.pi) ** 1.5
    condition = local_activity(scan)
    shared, both = (
        condition.standard_deviation(torch.full_like(scan, sd))[4:, 4:-4, :4] for sd in (0.0, 0.1)
    )
    assert shared.mean().item() == pytest.approx(0.2 * 0.1 * np.sqrt(kept), rel=0.05)
    torch.testing.assert_close(both.square(), shared.square() + 0.1**2)


def test_scan_noise_is_that_of_the_background_whatever_the_hot_organ(scan: torch.Tensor) -> None:
    condition = local_activity(scan)
    # White noise of 0.1 minus itself smoothed by a Gaussian of σ 1, over 1 + the far share.
    kept = 1 - 2 / (2 * np.pi) ** 1.5 + 1 / (4 * np.pi) ** 1.5
    expected = noise_ratio(condition.fields[EXPECTED_NOISE])
    assert expected.median().item() == pytest.approx(0.1 / 1.03 * np.sqrt(kept), rel=0.1)


def texture(shape: tuple[int, int, int], spread: float) -> torch.Tensor:
    """Anatomy as rough as the smallest organs in voxels of 4 to 6 mm."""
    grain = gaussian_smooth(torch.randn(shape, generator=torch.Generator().manual_seed(5)), 1.5)
    return (1 + spread * grain / grain.std()).clamp(min=0.2)


def fine_noise(noise: torch.Tensor, activity: torch.Tensor) -> torch.Tensor:
    """Return the fine noise at each voxel, from the noise without anatomy."""
    fine = (noise - gaussian_smooth(noise, 1.0)) / activity
    return gaussian_smooth(fine.square(), 4.0).sqrt()


@pytest.mark.parametrize("width", [0.0, 0.5, 0.8])
def test_noise_of_any_colour_is_distinguished_from_anatomy(width: float) -> None:
    """Noise of 2 %, white or smoothed by a Gaussian, in six times as much fine anatomy."""
    grain = torch.randn(40, 44, 36, generator=torch.Generator().manual_seed(2))
    noise = gaussian_smooth(grain, width) if width else grain
    noise = 0.02 * noise / noise.std()
    y = texture((40, 44, 36), 0.4) + noise
    condition = local_activity(y)
    true = fine_noise(noise, condition.activity).median()
    assert noise_ratio(condition.fields[LOCAL_NOISE]).median() > 6 * true
    estimated = spectral_noise(y, condition.activity)
    assert estimated is not None
    assert estimated.item() == pytest.approx(true.item(), rel=0.35)


@pytest.mark.parametrize("dose", [2.0, 20.0])
def test_noise_of_a_reconstructed_scan_is_distinguished_from_anatomy(dose: float) -> None:
    """Two scans of one body in 6 mm voxels: their difference is noise alone."""
    x = (np.arange(32) - 15.5) * 6.0
    inside = np.repeat((np.hypot(x[:, None], x) < 85)[..., None], 24, axis=2)
    suv = 2 * inside * texture((32, 32, 24), 0.3).numpy()
    first, second = (
        torch.from_numpy(
            simulated(
                suv.astype(np.float32), 0.096 * inside.astype(np.float32), (6.0, 6.0, 6.0),
                get_scanner("quadra"), Exam(injected_bq=250e6, weight_kg=75, uptake_s=3600),
                dose_factors=[dose], seed=seed, threads=1,
            ).lows[dose]
        )
        for seed in (0, 1)
    )  # fmt: skip
    condition = local_activity(first)
    true = fine_noise((first - second) / np.sqrt(2), condition.activity)[inside].median()
    local = noise_ratio(condition.fields[LOCAL_NOISE])[inside].median()
    estimated = spectral_noise(first, condition.activity)
    assert estimated is not None
    assert estimated.item() == pytest.approx(true.item(), rel=0.5)
    assert local > 1.5 * estimated
    assert noise_ratio(condition.fields[EXPECTED_NOISE])[inside].median() < 1.1 * estimated


def test_without_noise_an_eighth_of_the_fine_structure_is_taken_for_it() -> None:
    y = 1 + 0.5 * torch.arange(40.0).sin()[:, None, None].expand(40, 44, 36)
    condition = local_activity(y)
    estimated, local = (
        noise_ratio(condition.fields[n]).median() for n in (EXPECTED_NOISE, LOCAL_NOISE)
    )
    assert estimated.item() == pytest.approx(local.item() / 8, rel=0.1)


def test_a_scan_too_thin_for_a_spectrum_has_its_noise_from_every_voxel(scan: torch.Tensor) -> None:
    for thin in (scan[..., :11], scan[:11]):
        condition = local_activity(thin)
        assert spectral_noise(thin, condition.activity) is None
        assert (
            condition.fields[EXPECTED_NOISE].median() - condition.fields[LOCAL_NOISE].median()
        ).abs() < 0.1


def test_hot_organs_are_expected_to_have_less_noise(scan: torch.Tensor) -> None:
    condition = local_activity(scan)
    hot, warm = condition.activity.argmax(), (20, 18, 40)
    less = (
        noise_ratio(condition.fields[EXPECTED_NOISE]).flatten()[hot]
        / noise_ratio(condition.fields[EXPECTED_NOISE])[warm]
    )
    hotter = condition.activity.max() / condition.activity[warm]
    assert hotter > 20
    assert less.item() == pytest.approx(hotter.item() ** -0.4, rel=1e-3)


def output_of(r: torch.Tensor, trust: float = 0.0) -> torch.Tensor:
    """Return the output of a network for r, with the same trust at both fine scales."""
    return torch.stack([r, *[torch.full_like(r, trust)] * (len(OutputChannel) - 1)])


def test_trust_preserves_the_finest_activity_and_distrust_that_of_regions() -> None:
    y = 1 + torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(3))
    condition = local_activity(y)
    flat = torch.zeros_like(y)  # only the local activity is left
    left = {
        trust: (
            gaussian_smooth(
                condition.decode(condition.preserve_activity(output_of(flat, trust))), 1.0
            )
            - gaussian_smooth(y, 1.0)
        )
        for trust in (-50.0, 50.0)
    }
    assert 3 * left[50.0].std() < left[-50.0].std()


def test_regional_activity_is_preserved_whatever_the_network_changed(scan: torch.Tensor) -> None:
    condition = local_activity(scan)
    wrong = (
        1.3 * (1 + gaussian_smooth(condition.fields[RATIO], 0.8)) - 1
    )  # smoother, and 30 % too hot
    before, after = (
        gaussian_smooth(condition.decode(r), 4.0)
        for r in (wrong, condition.preserve_activity(output_of(wrong)))
    )
    truth = gaussian_smooth(scan, 4.0)
    assert ((before / truth - 1).abs() > 0.2).float().mean() > 0.9
    assert (after / truth - 1).abs().max() < 0.04


@pytest.mark.parametrize("trust", [-5.0, 5.0])
def test_an_estimate_of_both_signs_stays_bounded(scan: torch.Tensor, trust: float) -> None:
    """Smoothed values near 0, where both signs cancel, give no unbounded factor."""
    condition = local_activity(scan)
    wild = 3 * torch.randn(scan.shape, generator=torch.Generator().manual_seed(4))
    preserved = condition.decode(condition.preserve_activity(output_of(wild, trust)))
    assert preserved.min() >= 0
    # A voxel of a volume without negatives is at most its smoothed value over the kernel's centre.
    middle = 1 / (2 * torch.pi * 4) ** 1.5
    assert (preserved * middle <= 1.2 * condition.activity).all()


def test_preserving_activity_leaves_the_measured_scan_unchanged(scan: torch.Tensor) -> None:
    condition = local_activity(scan)
    torch.testing.assert_close(
        condition.preserve_activity(output_of(condition.fields[RATIO])),
        condition.fields[RATIO],
        atol=1e-5,
        rtol=1e-5,
    )


def test_activity_is_positive_where_nothing_was_measured() -> None:
    y = torch.zeros(24, 24, 24)
    y[:4] = 1.0
    condition = local_activity(y)
    assert (condition.activity > 0).all()
    assert condition.fields.isfinite().all()
