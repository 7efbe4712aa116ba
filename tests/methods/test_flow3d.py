import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff.diffusion.noise import GaussianNoise
from petdiff.errors import InputRefused, UsageError
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.local_activity import OutputChannel, ScanChannel, local_activity
from petdiff.methods.local_denoiser import input_scales, output_scales
from petdiff.methods.local_training import Example, error_loss
from petdiff.simulation.scanner.acquisition import thin

SIGMA_DATA = 0.3


def test_preconditioning_is_edms() -> None:
    sigma = torch.tensor([1e-3, 0.1, 0.3, 5.0, 1e3], dtype=torch.float64)
    (c_in, t), (c_skip, c_out) = input_scales(sigma, SIGMA_DATA), output_scales(sigma, SIGMA_DATA)
    total = sigma**2 + SIGMA_DATA**2
    torch.testing.assert_close(c_skip, SIGMA_DATA**2 / total)
    torch.testing.assert_close(c_out, sigma * SIGMA_DATA / total.sqrt())
    torch.testing.assert_close(c_in, SIGMA_DATA / total)
    torch.testing.assert_close(t, sigma / (sigma + SIGMA_DATA))


def test_at_infinite_sigma_the_noisy_state_has_no_weight() -> None:
    sigma = torch.tensor([torch.inf])
    (c_in, t), (c_skip, c_out) = input_scales(sigma, SIGMA_DATA), output_scales(sigma, SIGMA_DATA)
    assert (c_skip.item(), c_in.item(), t.item()) == (0, 0, 1)
    assert c_out.item() == pytest.approx(SIGMA_DATA)


def test_the_target_of_the_network_has_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    r = SIGMA_DATA * torch.randn(200_000, generator=generator)
    for sigma in (0.05, 0.3, 2.0):
        x = r + sigma * torch.randn(r.shape, generator=generator)
        c_skip, c_out = output_scales(torch.tensor(sigma), SIGMA_DATA)
        assert ((r - c_skip * x) / c_out).std().item() == pytest.approx(1, abs=0.01)


def scan(noise: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return (1 + noise * torch.randn(16, 16, 16, generator=generator)).clamp(min=0)


def test_a_scan_without_noise_is_unchanged_for_any_network_output() -> None:
    method = Flow3D.create("tiny")
    torch.nn.init.ones_(method.network.head.bias)
    changes = []
    for noise in (1e-4, 0.5):
        fields = local_activity(scan(noise)).fields[None]
        output = method.denoise(torch.zeros(1, 1, 16, 16, 16), torch.tensor([torch.inf]), fields)
        changes.append((output[:, :1] - fields[:, :1]).abs().max().item())
    assert changes[0] < 1e-3
    assert changes[1] > 0.1


@pytest.mark.parametrize("dose", [1.5, 4.0, 100.0])
def test_a_scan_s_own_counts_are_unchanged_and_the_rest_is_what_the_network_expects(
    dose: float,
) -> None:
    """full = f · low + (1 − f) · rest, if the network ignores that the dose is known."""
    torch.manual_seed(0)
    method = Flow3D.create("tiny")
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape))
        method.network.stem.weight[:, 4 * 8 : 5 * 8] = 0
    fields = local_activity(scan(0.5), drf=dose).fields[None]
    unknown = torch.cat([fields[:, :4], torch.zeros_like(fields[:, 4:])], dim=1)
    x, sigma = torch.zeros(1, 1, 16, 16, 16), torch.tensor([torch.inf])
    known, rest = (method.denoise(x, sigma, each)[:, :1] for each in (fields, unknown))
    torch.testing.assert_close(known, fields[:, :1] / dose + (1 - 1 / dose) * rest)
    assert (rest - fields[:, :1]).abs().max() > 0.1


def test_the_noise_that_a_thinned_scan_shares_with_the_full_dose_is_the_dose() -> None:
    """Thinned counts show it: the slope of the full scan's error on the low one's is 1/dose."""
    rng = np.random.default_rng(0)
    full = rng.poisson(40.0, (400, 1000, 1, 1)).astype(np.float32)
    doses = (2, 4, 10)
    for n, dose in enumerate(doses):
        low = thin(full, doses, rng)[n] * dose
        slope = np.polyfit((low - 40.0).ravel(), (full - 40.0).ravel(), 1)[0]
        assert slope == pytest.approx(1 / dose, abs=0.005)


def test_the_dose_is_known_in_half_of_the_training_patches() -> None:
    method = Flow3D.create("tiny")
    example = method.example(scan(0.4), scan(0.1), 4.0)
    assert example.shape == (2 + len(ScanChannel), 16, 16, 16)
    assert example[1 + ScanChannel.LACKING_COUNTS].unique().tolist() == [0.75]
    assert method.example(scan(0.4), scan(0.1))[
        1 + ScanChannel.LACKING_COUNTS
    ].unique().tolist() == [0]
    lacking_counts: list[float] = []

    def noted(x: torch.Tensor, sigma: torch.Tensor, fields: torch.Tensor) -> torch.Tensor:
        lacking_counts.extend(fields[:, 4].amax((1, 2, 3)).tolist())
        return torch.cat([x, torch.zeros_like(fields[:, 1 : len(OutputChannel)])], dim=1)

    method.denoise = noted  # type: ignore[method-assign]
    [objective] = method.objectives()
    objective.loss(example.expand(200, -1, -1, -1, -1), torch.Generator().manual_seed(0))
    assert set(lacking_counts) == {0.0, 0.75}
    assert 70 < sum(lacking > 0 for lacking in lacking_counts) < 130


def test_at_infinite_sigma_the_noisy_state_has_no_effect() -> None:
    method = Flow3D.create("tiny")
    fields = local_activity(scan(0.3)).fields[None]
    sigma = torch.tensor([torch.inf])
    outputs = [method.denoise(x * torch.ones(1, 1, 16, 16, 16), sigma, fields) for x in (0.0, 9.0)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("left", [0.02, 0.07, 0.15, 0.3])
def test_samples_of_a_gaussian_have_its_mean_and_standard_deviation(left: float) -> None:
    """Its denoiser is known: E[r | x] of a Gaussian is linear in x."""
    method, mean = Flow3D.create("tiny"), 0.4

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if sigma.isinf():
            return torch.full_like(x, mean)
        return (left**2 * x + sigma**2 * mean) / (left**2 + sigma**2)

    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(40_000, generator=generator)
    drawn = method.sample(denoiser, noise, method.sampling_steps, GaussianNoise(generator))
    assert drawn.mean().item() == pytest.approx(mean, abs=0.005)
    assert drawn.std().item() == pytest.approx(left, rel=0.1)


def test_loss_of_a_perfect_estimate_is_zero() -> None:
    method = Flow3D.create("tiny")
    fields = local_activity(scan(0.3)).fields[None]
    measured = fields[:, :1]
    activity = torch.ones_like(measured)
    trust = torch.zeros_like(fields[:, 1 : len(OutputChannel)])
    perfect = torch.cat([measured, trust], dim=1)
    method.denoise = lambda x, sigma, fields: perfect  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    assert method.example_loss(
        Example(measured, fields, activity), generator
    ).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("place", [(8, 8, 8), (3, 8, 8)])
def test_loss_in_closed_form_weighs_a_small_hot_structure_more(
    place: tuple[int, int, int],
) -> None:
    """An error of 0.1 in one voxel of a focus, and the same error away from it."""
    r, measured, activity, error = (np.zeros((16, 16, 16)) for _ in range(4))
    r[7:10, 7:10, 7:10] = 2.0
    measured[:] = r + 0.3
    activity[:] = np.linspace(0.5, 2, 16)[:, None, None]
    error[place] = 0.1
    sigma = 0.5
    contrast = np.minimum(gaussian_filter(r, 1.0), 3) + 0.02
    terms = []
    for weight in (activity, activity**2, activity**2 * contrast):
        noise_power = np.average((measured - r) ** 2, weights=weight) + 1e-5
        good = 1 / (1 / noise_power + 1 / 0.05 + 1 / sigma**2)
        terms.append(np.log1p(np.average(error**2, weights=weight) / good))

    def tensor(*channels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack(channels)).float()[None]

    fields = tensor(measured, *np.zeros((len(ScanChannel) - 1, 16, 16, 16)))
    example = Example(tensor(r), fields, tensor(activity))
    loss = error_loss(example, tensor(r + error), torch.tensor([sigma])).item()
    assert loss == pytest.approx(np.mean(terms), rel=0.01)
    assert (terms[2] > 3 * terms[1]) == (place == (8, 8, 8))


def test_loss_is_finite_where_a_scan_has_negative_voxels() -> None:
    """Reconstructions without a positivity constraint have them in air."""
    method = Flow3D.create("tiny")
    low, full = scan(0.4) - 0.9, scan(0.1) - 0.9
    assert float((low < 0).float().mean()) > 0.2
    batch = method.example(low, full)[None]
    [objective] = method.objectives()
    assert torch.isfinite(objective.loss(batch, torch.Generator().manual_seed(0)))


def test_loss_learns() -> None:
    torch.manual_seed(0)
    method = Flow3D.create("tiny")
    fields = local_activity(scan(0.5)).fields[None]
    r, activity = torch.zeros_like(fields[:, :1]), torch.ones_like(fields[:, :1])
    optimizer = torch.optim.Adam(method.network.parameters(), lr=3e-3)

    def loss() -> torch.Tensor:
        return method.example_loss(Example(r, fields, activity), torch.Generator().manual_seed(1))

    before = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.5 * before


@pytest.mark.parametrize(
    ("voxel_mm", "working_mm"),
    [
        ((1.65, 1.65, 1.65), (1.65, 1.65, 1.65)),
        ((1.65, 1.65, 5.0), (1.65, 1.65, 3.3)),
        ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
        ((8.0, 4.0, 4.0), (6.0, 4.0, 4.0)),
    ],
)
def test_voxel_sizes_are_changed_only_outside_the_range_of_training(
    voxel_mm: tuple[float, float, float], working_mm: tuple[float, float, float]
) -> None:
    assert Flow3D.create("tiny").working_voxel_mm(voxel_mm) == pytest.approx(working_mm)


def test_a_model_of_another_version_is_refused() -> None:
    card = Flow3D.create("tiny").card({})
    assert Flow3D.from_card(card).network.architecture.model_dump(mode="json") == card.architecture
    for end, channels in (("out_channels", 2), ("in_channels", 5)):
        older = card.model_copy(update={"architecture": card.architecture | {end: channels}})
        with pytest.raises(InputRefused, match=f"{end}: {channels}, where this version"):
            Flow3D.from_card(older)


@pytest.mark.parametrize("part", ["architecture", "constants"])
def test_an_unknown_entry_of_a_card_is_refused_by_name(part: str) -> None:
    made = Flow3D.create("tiny").card({})
    entries = getattr(made, part) | {"attention": True}
    with pytest.raises(InputRefused, match="of flow3d: attention"):
        Flow3D.from_card(made.model_copy(update={part: entries}))


def test_an_unknown_preset_names_the_known() -> None:
    with pytest.raises(UsageError, match="tiny or default"):
        Flow3D.create("huge")
