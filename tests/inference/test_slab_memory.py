"""The expected memory of a slab is that of the tensors of the default network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from petdiff.inference.slabs import _DELAYED_PLANES, BYTES_PER_VOXEL, SlabDenoiser
from petdiff.methods.local_ddpm import LocalDDPM
from petdiff.methods.local_denoiser import IN_CHANNELS, fresh_network
from petdiff.networks.slabwise import SlabwiseUNet
from petdiff.volume.planes import fortran_order

PLANES, SIDE, LENGTH = 8, 48, 96


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most bytes that tensors take during the work, without those from before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def test_the_network_takes_no_more_memory_than_expected_and_not_far_less() -> None:
    network = fresh_network("default").requires_grad_(False)

    def one_pass() -> None:
        slabwise = SlabwiseUNet(network, torch.ones(1))
        for first in range(0, LENGTH, PLANES):
            slab = torch.zeros(1, IN_CHANNELS, PLANES, SIDE, SIDE)
            slabwise(slab, last=first + PLANES == LENGTH)

    expected = SIDE**2 * (PLANES + _DELAYED_PLANES // 2) * BYTES_PER_VOXEL * 4
    assert 0.7 * expected < peak_bytes(one_pass) < expected


def test_a_call_of_a_ddpm_takes_as_much_as_expected_though_it_is_one_pass() -> None:
    """The passes after the network take what a second one of the network would."""
    method = LocalDDPM.create("default")
    method.network.eval().requires_grad_(False)
    body = torch.ones(SIDE, SIDE, LENGTH, dtype=torch.bool)
    scan = fortran_order(torch.rand(body.shape, generator=torch.Generator().manual_seed(0)) + 0.5)
    denoiser = SlabDenoiser(
        method, method.condition(scan), body, torch.float32, PLANES, callback=None, calls=1
    )
    peak = peak_bytes(lambda: denoiser(torch.zeros_like(scan), torch.tensor(0.3)))
    expected = SIDE**2 * (PLANES + _DELAYED_PLANES) * BYTES_PER_VOXEL * 4
    assert 0.8 * expected < peak < expected
