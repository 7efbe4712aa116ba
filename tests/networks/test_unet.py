import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from petdiff.networks.unet import (
    Block,
    UNet,
    UNetArchitecture,
    channel_norm,
    flattened,
    shuffle,
    unshuffle,
)


def unet(
    in_channels: int, out_channels: int, widths: tuple[int, ...], blocks: tuple[int, ...], dims: int
) -> UNet:
    return UNet(
        UNetArchitecture(
            in_channels=in_channels,
            out_channels=out_channels,
            widths=widths,
            blocks=blocks,
            dims=dims,  # type: ignore[arg-type]
        )
    )


def awake(net: UNet) -> UNet:
    """A network with random weights also in the layers that start at 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def test_unshuffle_is_pixel_unshuffle_in_two_dimensions() -> None:
    x = torch.randn(2, 3, 6, 4)
    assert torch.equal(unshuffle(x), pixel_unshuffle(x, 2))


@pytest.mark.parametrize("axes", [(4, 6), (4, 6, 2)])
def test_shuffle_undoes_unshuffle(axes: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *axes)
    assert torch.equal(shuffle(unshuffle(x), len(axes)), x)


@pytest.mark.parametrize("batch", [1, 2])
def test_channel_norm_is_the_formula(batch: int) -> None:
    x = 3 + 2 * torch.randn(batch, 8, 2, 3, 4)
    scale, shift = torch.randn(batch, 8), torch.randn(batch, 8)
    per_channel = (batch, 8, 1, 1, 1)
    centred = x - x.mean(1, keepdim=True)
    expected = centred / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    expected = expected * scale.view(per_channel) + shift.view(per_channel)
    torch.testing.assert_close(channel_norm(x, scale, shift), expected)


def test_a_block_scales_and_shifts_the_normalised_channels_by_the_noise_level() -> None:
    block = Block(width=4, embedding=6, dims=3)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(block.film.weight, generator=generator)
    h, emb = (torch.randn(*s, generator=generator) for s in ((1, 4, 2, 3, 2), (1, 6)))
    scale, shift = (block.film.weight @ emb[0]).view(2, 4, 1, 1, 1)
    normal = (h - h.mean(1)) / (h.var(1, unbiased=False) + 1e-5).sqrt()
    film = (1 + scale) * normal + shift
    torch.testing.assert_close(block.activated(h, emb), film * torch.sigmoid(film))


def test_the_output_of_a_fresh_network_is_zero() -> None:
    net = unet(2, 1, (8, 8), (1, 1), dims=3)
    assert (net(torch.randn(1, 2, 8, 8, 8), torch.rand(1)) == 0).all()


def test_the_noise_level_changes_the_output() -> None:
    net = awake(unet(1, 1, (8,), (1,), dims=3))
    x = torch.randn(1, 1, 8, 8, 8)
    assert (net(x, torch.zeros(1)) - net(x, torch.ones(1))).abs().max() > 1e-3


def test_levels_and_blocks_must_match() -> None:
    with pytest.raises(ValueError, match="one number of blocks per level"):
        unet(1, 1, (8, 8), (1,), dims=3)


def test_the_flattened_network_of_a_slice_gives_the_output_of_a_volume_constant_along_k() -> None:
    net = awake(unet(2, 3, (8, 16), (1, 2), dims=3))
    image, t = torch.randn(1, 2, 12, 8), torch.tensor([0.3])
    with torch.no_grad():
        volume = net(image[..., None].expand(-1, -1, -1, -1, 128), t)
        flat = flattened(net)(image, t)
    middle = volume[..., 60:68]  # where padding with zeros along k does not reach
    torch.testing.assert_close(middle.mean(-1), flat, atol=1e-5, rtol=1e-4)
