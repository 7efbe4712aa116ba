"""The DDPM in 2-D: slices are denoised separately and never cut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from petdiff.diffusion.schedules import sigmas_of
from petdiff.inference.blended_windows import WindowDenoiser
from petdiff.methods.published_ddpm import Process, PublishedDDPM2D


def method(slab: int) -> PublishedDDPM2D:
    """Return the method with small windows and random weights."""
    torch.manual_seed(0)
    made = PublishedDDPM2D.create({"channels": 8, "multipliers": (1, 2), "residual_blocks": 1})
    for parameter in made.network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    process = made.constants.model_dump() | {"slab": slab, "tile": (8, 8), "overlap": 3}
    return PublishedDDPM2D(made.network, Process(**process))


def volume(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_each_slice_is_denoised_as_if_it_were_alone() -> None:
    it = method(slab=4)
    x_t, fields = volume(2, 1, 8, 6, 5), volume(2, 1, 8, 6, 5, seed=1)
    timestep = torch.tensor([3.0, 700.0])
    with torch.no_grad():
        together = it.predict(x_t, timestep, fields)
        assert together.shape == (2, 2, 8, 6, 5)
        for k in range(5):
            one = slice(k, k + 1)
            alone = it.predict(x_t[..., one], timestep, fields[..., one])
            torch.testing.assert_close(together[..., one], alone)


def test_slices_have_the_axis_order_of_the_inner_axes_in_3d() -> None:
    """The order is j, i, as in ddpm3d, whose order is k, j, i."""
    it = method(slab=4)
    inputs: list[Tensor] = []
    it.network.register_forward_pre_hook(lambda network, args: inputs.append(args[0]))
    x_t, fields = volume(1, 1, 8, 6, 5), volume(1, 1, 8, 6, 5, seed=1)
    it.predict(x_t, torch.tensor([3.0]), fields)
    for k in range(5):
        torch.testing.assert_close(inputs[0][k, 0], x_t[0, 0, :, :, k].T)
        torch.testing.assert_close(inputs[0][k, 1], fields[0, 0, :, :, k].T)


def test_the_result_does_not_depend_on_the_number_of_slices_at_once() -> None:
    x, y = volume(12, 10, 7), volume(12, 10, 7, seed=1)
    sigma = sigmas_of(method(1).constants.alphas_bar)[300]
    estimates = []
    for slab in (2, 4, 100):
        it = method(slab)
        denoiser = WindowDenoiser(it, it.condition(y).fields, None, None, 1)
        estimates.append(denoiser(x, sigma))
    torch.testing.assert_close(estimates[0], estimates[2])
    torch.testing.assert_close(estimates[1], estimates[2])


def test_each_slice_is_trained_at_its_own_timestep() -> None:
    it = method(slab=4)
    timesteps: list[Tensor] = []
    it.network.register_forward_pre_hook(lambda network, args: timesteps.append(args[1]))
    it.loss(volume(2, 2, 8, 8, 6), torch.Generator().manual_seed(0))
    assert timesteps[0].shape == (12,)
    assert len(timesteps[0].unique()) > 6
