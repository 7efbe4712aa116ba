"""The published network: its layout, its output, and tensors that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from petdiff.networks.published import (
    Architecture,
    PublishedUNet,
    read_architecture,
    timestep_embedding,
)

SMALL = Architecture(channels=32, multipliers=(1, 2), decoder_multipliers=(2, 1, 1, 1, 1, 1))


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = PublishedUNet(architecture).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def awake(network: PublishedUNet) -> PublishedUNet:
    """Return the network with random weights."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_published_architecture_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = PublishedUNet(Architecture())
    assert sum(parameter.numel() for parameter in network.parameters()) == 206_964_610


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(),
        SMALL,
        Architecture(channels=64, multipliers=(1,), decoder_multipliers=(1, 1, 1)),
        Architecture(
            channels=32, multipliers=(1, 3), decoder_multipliers=(3, 3, 1, 1), residual_blocks=1
        ),
        Architecture(out_channels=1),
        Architecture(decoder_multipliers=(4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1)),
    ],
)
def test_architecture_is_read_back_from_shapes(architecture: Architecture) -> None:
    assert read_architecture(shapes_of(architecture)) == architecture


def test_learned_variance_shows_in_the_output_channels() -> None:
    assert Architecture().learned_variance
    assert not Architecture(out_channels=1).learned_variance


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("middle_block.1.emb_layers.1.bias"), "middle_block.1.emb_layers.1.bias"),
        (lambda s: s.update({"middle_block.1.qkv.weight": (3, 1)}), "middle_block.1.qkv.weight"),
        (lambda s: s.update({"input_blocks.0.0.weight": (32, 2, 3, 3)}), "input_blocks.0.0.weight"),
        (lambda s: s.update({"input_blocks.0.0.weight": (32, 3, 3, 3, 3)}), "out.2.weight"),
        (lambda s: s.update({"input_blocks.0.0.weight": (24, 2, 3, 3, 3)}), "input_blocks"),
        (lambda s: s.update({"out.2.weight": ()}), "out.2.weight"),
        (lambda s: s.update({"time_embed.0.weight": (64, 32)}), "time_embed.0.weight"),
        (lambda s: s.pop("output_blocks.5.0.in_layers.2.weight"), "output_blocks"),
        (lambda s: s.clear(), "input_blocks.0.0.weight"),
    ],
)
def test_tensor_that_does_not_fit_is_named(
    change: Callable[[dict[str, tuple[int, ...]]], object], named: str
) -> None:
    shapes = shapes_of(SMALL)
    change(shapes)
    with pytest.raises(ValueError, match=named.replace(".", r"\.")):
        read_architecture(shapes)


def test_first_axis_keeps_its_length_and_may_have_any() -> None:
    network = PublishedUNet(SMALL)
    for axial in (1, 3):
        x = torch.zeros(2, 2, axial, 4, 6)
        with torch.no_grad():
            assert network(x, torch.tensor([0, 999])).shape == x.shape


def test_bfloat16_gives_the_same_to_its_precision() -> None:
    torch.manual_seed(0)
    network = awake(PublishedUNet(SMALL))
    x, t = torch.randn(1, 2, 3, 4, 6), torch.tensor([500.0])
    with torch.no_grad():
        exact, rounded = network(x, t), network.bfloat16()(x.bfloat16(), t).float()
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_in_two_dimensions_it_is_the_same_net_for_a_volume_of_one_slice() -> None:
    """Where the axial axis has one voxel, the middle of each 3-D kernel is all that is used."""
    torch.manual_seed(0)
    solid = awake(PublishedUNet(SMALL))
    flat = PublishedUNet(SMALL.model_copy(update={"dims": 2}))
    flat.load_state_dict(
        {
            name: w[:, :, w.shape[2] // 2] if w.ndim == 5 else w
            for name, w in solid.state_dict().items()
        }
    )
    x, t = torch.randn(2, 2, 1, 4, 6), torch.tensor([3, 700])
    with torch.no_grad():
        torch.testing.assert_close(flat(x[:, :, 0], t), solid(x, t)[:, :, 0], rtol=1e-4, atol=1e-5)


def test_scaled_to_its_own_size_it_is_the_published_one() -> None:
    assert Architecture.scaled(128) == Architecture()


def test_scaling_keeps_the_channels_of_a_group() -> None:
    quarter = Architecture.scaled(32)
    assert quarter == Architecture(channels=32, groups=8)
    assert Architecture.scaled(16, (1, 2), 1).decoder_multipliers == (2, 1, 1, 1)


def test_the_output_of_fresh_weights_is_zero() -> None:
    x = torch.randn(1, 2, 3, 4, 6)
    assert not PublishedUNet(SMALL)(x, torch.tensor([5])).any()


def test_inner_axes_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 2"):
        PublishedUNet(SMALL)(torch.zeros(1, 2, 3, 4, 5), torch.tensor([0]))


def test_timestep_embedding_holds_cosines_then_sines() -> None:
    t = torch.tensor([0.0, 2.5])
    embedding = timestep_embedding(t, 4)
    expected = torch.stack([t.cos(), (t / 100).cos(), t.sin(), (t / 100).sin()], dim=1)
    torch.testing.assert_close(embedding, expected)


@pytest.mark.real
def test_layout_is_the_published_one(
    published_network: PublishedUNet, published_weights: dict[str, Tensor]
) -> None:
    assert published_network.architecture == Architecture(channels=32)
    assert list(published_network.state_dict()) == list(published_weights)


@pytest.mark.real
@pytest.mark.parametrize("t", [0, 37, 500, 999])
def test_output_equals_the_published_codes(
    t: int, published_network: PublishedUNet, reference: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        output = published_network(
            torch.cat([reference["x"], reference["y"]], dim=1), torch.tensor([t])
        )
    expected = reference[f"eps_var_t{t}"]
    assert (output - expected).norm() < 1e-4 * expected.norm()
