import pytest
import torch

from petdiff.networks.reversed_axes import with_reversed_axes
from petdiff.networks.slabwise import SlabwiseUNet
from petdiff.networks.unet import UNet, UNetArchitecture


@pytest.fixture
def net() -> UNet:
    """A network with random weights also in the layers that start at 0."""
    made = UNet(
        UNetArchitecture(in_channels=2, out_channels=1, widths=(4, 6, 8), blocks=(1, 2, 2))
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made.requires_grad_(False)


@pytest.mark.parametrize("cut", [[8] * 9, [72], [16, 8, 40, 8], [2, 64, 6], [2] * 36, [70, 2]])
def test_slabs_of_any_thickness_give_the_output_of_the_whole(net: UNet, cut: list[int]) -> None:
    x = torch.randn(1, 2, 72, 16, 8, generator=torch.Generator().manual_seed(1)).double()
    t = torch.tensor([0.3]).double()
    network = SlabwiseUNet(net, t)
    slabs = x.split(cut, dim=2)
    outputs = [network(slab, last=n == len(cut) - 1) for n, slab in enumerate(slabs)]
    output = torch.cat([part for part in outputs if part is not None], dim=2)
    torch.testing.assert_close(output, net(x, t), atol=1e-12, rtol=1e-12)


def test_what_is_stored_between_slabs_does_not_grow_with_the_volume(net: UNet) -> None:
    network = SlabwiseUNet(net, torch.ones(1).double())
    given = returned = 0
    behind = []
    for _ in range(30):
        part = network(torch.zeros(1, 2, 8, 8, 8).double(), last=False)
        given, returned = given + 8, returned + (0 if part is None else part.shape[2])
        behind.append(given - returned)
    assert max(behind[10:]) - min(behind[10:]) < 8
    assert max(behind) < 100


def test_the_turned_network_gives_the_transposed_output(net: UNet) -> None:
    x = torch.randn(1, 2, 8, 16, 24, generator=torch.Generator().manual_seed(2)).double()
    t = torch.tensor([0.3]).double()
    output = with_reversed_axes(net)(x.transpose(-1, -3), t).transpose(-1, -3)
    torch.testing.assert_close(output, net(x, t), atol=1e-12, rtol=1e-12)


def test_planes_that_are_stored_do_not_hold_the_memory_of_their_slab(net: UNet) -> None:
    network = SlabwiseUNet(net, torch.ones(1).double())
    slab = torch.zeros(1, 2, 32, 16, 16).double().to(memory_format=torch.channels_last_3d)
    network(slab, last=False)
    stored = network._stem._previous
    assert stored is not None
    assert stored.untyped_storage().nbytes() == stored.nbytes
