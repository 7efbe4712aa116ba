"""The published method: its domain, axes, air and windows, and the whole method."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from petdiff.diffusion.denoiser import VarianceDenoiser
from petdiff.diffusion.noise import GaussianNoise
from petdiff.diffusion.schedules import sigmas_of
from petdiff.errors import InputRefused, PetdiffError
from petdiff.inference.blended_windows import WindowDenoiser, weighted_spans, window_starts
from petdiff.inference.record import VolumeCut
from petdiff.methods.card import ModelCard, card_from_json
from petdiff.methods.published_ddpm import Process, PublishedDDPM
from petdiff.networks.published import Architecture, PublishedUNet

SMALL = Architecture(channels=32, multipliers=(1,), decoder_multipliers=(1, 1), residual_blocks=1)
SMALL_FIELD = Process(field=(4, 4), slab=8, overlap=3)


class Stub(nn.Module):
    """Stands in for the network: returns ε = 0.1·(noisy + measured), v = −1, and stores inputs."""

    architecture = Architecture(multipliers=(1, 1), decoder_multipliers=(1,) * 6)
    multiple = 2

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        self.inputs.append(x)
        epsilon = 0.1 * x.sum(dim=1, keepdim=True)
        return torch.cat([epsilon, -torch.ones_like(epsilon)], dim=1)


def stubbed(process: Process = SMALL_FIELD) -> PublishedDDPM:
    return PublishedDDPM(Stub(), process)  # type: ignore[arg-type]


def volume(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_decoding_restores_every_value_however_hot() -> None:
    y = torch.tensor([-0.5, 0.0, 3.0, 16.0, 60.0]).view(5, 1, 1)
    bound = stubbed().condition(y)
    assert bound.fields.flatten().tolist() == [-0.03125, 0.0, 0.1875, 1.0, 1.0]
    torch.testing.assert_close(bound.decode(bound.fields[0]), y)


def test_the_inputs_are_noisy_then_measured_with_the_axial_axis_first() -> None:
    method = stubbed()
    x_t, fields = volume(1, 1, 4, 6, 3), volume(1, 1, 4, 6, 3, seed=1)
    output = method.predict(x_t, torch.tensor([500.0]), fields)
    [inputs] = method.network.inputs  # type: ignore[union-attr]
    assert torch.equal(inputs, torch.cat([x_t, fields], dim=1).permute(0, 1, 4, 3, 2))
    torch.testing.assert_close(output[:, :1], 0.1 * (x_t + fields))


def test_narrow_scans_are_surrounded_by_air_of_the_same_noise() -> None:
    method = stubbed(Process(field=(64, 60)))
    x_t, fields = 9 + volume(1, 1, 4, 62, 20), 9 + volume(1, 1, 4, 62, 20)
    output = method.predict(x_t, torch.tensor([100.0]), fields)
    torch.testing.assert_close(output[:, :1], 0.1 * (x_t + fields))
    [inputs] = method.network.inputs  # type: ignore[union-attr]
    noisy, measured = inputs[0].permute(0, 3, 2, 1)
    assert noisy.shape == (64, 62, 20)
    assert torch.equal(noisy[30:34], x_t[0, 0])
    air = noisy[:30]
    assert float(air.std()) == pytest.approx(
        float((1 - method.constants.alphas_bar[100]).sqrt()), rel=0.02
    )
    assert (measured[:30] == 0).all()


def test_windows_have_the_positions_of_slabs_in_the_published_code() -> None:
    assert window_starts(520, 96, 10) == [0, 86, 172, 258, 344, 424]


@pytest.mark.parametrize("length", [1, 96, 97, 181, 182, 183, 1100])
def test_windows_cover_any_length_and_overlap_enough(length: int) -> None:
    starts = window_starts(length, 96, 10)
    assert starts[0] == 0
    assert starts[-1] + 96 >= length
    assert all(0 < after - before <= 86 for before, after in pairwise(starts))


@pytest.mark.parametrize("length", [38, 37])
def test_blending_ramps_over_the_last_voxels_done(length: int) -> None:
    """The published weight of the j-th of ten is j/9, also where the overlap is longer."""
    (first, weight_first), (last, weight_last) = weighted_spans(length, 24, 10)
    blended = torch.zeros(length)
    blended[last] += weight_last
    expected = torch.cat([torch.zeros(14), torch.arange(10) / 9, torch.ones(length - 24)])
    torch.testing.assert_close(blended, expected)
    blended[first] += weight_first
    torch.testing.assert_close(blended, torch.ones(length))


@pytest.mark.parametrize("overlap", [0, 1, 4])
@pytest.mark.parametrize("length", [5, 12, 13, 30, 41])
def test_weights_add_up_to_one_everywhere(length: int, overlap: int) -> None:
    total = torch.zeros(length)
    for span, weight in weighted_spans(length, 12, overlap):
        assert (weight >= 0).all()
        total[span] += weight
    torch.testing.assert_close(total, torch.ones(length))


@pytest.mark.parametrize("slab", [6, 8, 40])
def test_windows_are_exact_for_a_network_without_statistics(slab: int) -> None:
    method = stubbed()
    y, x, sigma = volume(4, 4, 30), volume(4, 4, 30, seed=1), sigmas_of(SMALL_FIELD.alphas_bar)[400]
    fields = method.condition(y).fields
    slabs = WindowDenoiser(method, fields, slab, None, calls=1)
    whole = method.denoise(x[None, None], sigma[None], fields[None])[0, 0]
    torch.testing.assert_close(slabs(x, sigma), whole)


def test_windows_give_the_variance_and_report_progress() -> None:
    method, ticks = stubbed(), []
    fields = method.condition(volume(4, 4, 18)).fields
    slabs = WindowDenoiser(method, fields, None, lambda *tick: ticks.append(tick), calls=2)
    assert isinstance(slabs, VarianceDenoiser)
    sigma, sigma_next = torch.tensor([2.0, 1.0], dtype=torch.float64)
    x0, variance = slabs.with_variance(volume(4, 4, 18), sigma, sigma_next)
    slabs(volume(4, 4, 18), sigma_next)
    assert x0.shape == variance.shape == (4, 4, 18)
    torch.testing.assert_close(variance, torch.full_like(variance, 1 - 1 / 4))
    assert ticks == [(n, 6) for n in range(1, 7)]
    assert slabs.describe() == VolumeCut(tile=(4, 4, 8), blend=(3, 3, 3))


def test_window_is_halved_when_memory_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    method = stubbed(Process(field=(4, 4), slab=24, overlap=3))
    enough = method.network.forward

    def forward(x: Tensor, timestep: Tensor) -> Tensor:
        if x.shape[2] > 12:
            raise torch.OutOfMemoryError
        return enough(x, timestep)

    method.network.forward = forward  # type: ignore[method-assign]
    fields = method.condition(volume(4, 4, 30)).fields
    slabs = WindowDenoiser(method, fields, None, None, calls=1)
    slabs(volume(4, 4, 30), torch.tensor(1.0))
    assert slabs.window == [4, 4, 12]
    assert "window cut to 12" in caplog.text


def test_out_of_memory_with_the_shortest_window_is_an_error() -> None:
    method = stubbed(Process(field=(4, 4), slab=24, overlap=3))

    def forward(x: Tensor, timestep: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    method.network.forward = forward  # type: ignore[method-assign]
    slabs = WindowDenoiser(method, method.condition(volume(4, 4, 30)).fields, None, None, calls=1)
    with pytest.raises(PetdiffError, match=r"on cpu with windows of \[4, 4, 6\]: use another"):
        slabs(volume(4, 4, 30), torch.tensor(1.0))


@pytest.mark.parametrize("steps", [1, 3])
def test_same_seed_same_bytes(steps: int) -> None:
    network = PublishedUNet(
        Architecture(channels=32, multipliers=(1, 1), decoder_multipliers=(1,) * 6)
    )
    method = PublishedDDPM(network, SMALL_FIELD)
    bound = method.condition(volume(4, 4, 12).abs())

    def run(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(4, 4, 12, generator=generator)
        slabs = WindowDenoiser(method, bound.fields, None, None, calls=steps)
        return bound.decode(method.sample(slabs, noise, steps, GaussianNoise(generator)))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_cards_without_windows_have_the_constants_of_their_version() -> None:
    before = {
        "timesteps": 1000, "beta_first": 1e-4, "beta_last": 0.02, "x0_range": [-1, 1],
        "clip_suv": 16, "voxel_mm": 1.65, "axes": "LPS", "slab": 96, "overlap": 10,
        "field": [288, 192],
    }  # fmt: skip
    architecture = SMALL.model_dump(mode="json")
    held = {"method": "ddpm3d", "architecture": architecture, "process": before}
    made = PublishedDDPM.from_card(card_from_json(json.dumps(held)))
    assert made.constants == Process()
    assert made.window == (None, None, 96)


def test_a_sample_takes_as_many_steps_as_there_are_timesteps() -> None:
    assert stubbed().max_steps == 1000
    assert stubbed(Process(timesteps=50)).max_steps == 50


@pytest.mark.parametrize(
    ("part", "entry"), [("architecture", {"channels": "many"}), ("constants", {"slabs": 3})]
)
def test_invalid_card_is_refused_and_the_entry_is_named(
    part: str, entry: dict[str, object]
) -> None:
    made = PublishedDDPM(PublishedUNet(SMALL), Process()).card({}).model_dump()
    card = ModelCard.model_validate(made | {part: made[part] | entry})
    with pytest.raises(InputRefused, match=next(iter(entry))):
        PublishedDDPM.from_card(card)


@pytest.mark.real
def test_whole_method_gives_the_published_codes_ancestral_sample(
    published_network: PublishedUNet, reference: dict[str, Tensor]
) -> None:
    """Turn the axes [axial, …] into [i, j, k] and back."""

    def to_ijk(x: Tensor) -> Tensor:
        return x[0, 0].permute(2, 1, 0)

    noises = iter(to_ijk(noise) for noise in reference["ancestral10_noises"])
    method = PublishedDDPM(published_network, Process(field=(32, 32)))
    bound = method.condition(16 * to_ijk(reference["y"]))
    slabs = WindowDenoiser(method, bound.fields, None, None, calls=10)
    x0 = method.sample(slabs, next(noises), 10, lambda x: next(noises))
    expected = to_ijk(reference["ancestral10_out"])
    assert (x0 - expected).norm() < 1e-4 * expected.norm()
