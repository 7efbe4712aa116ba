"""The expected memory of a slab is that of the tensors of the default network."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from petdiff.inference.slabs import _DELAYED_PLANES, BYTES_PER_VOXEL
from petdiff.methods.local_denoiser import IN_CHANNELS, fresh_network
from petdiff.networks.slabwise import SlabwiseUNet


def peak_bytes(planes: int, side: int, length: int) -> int:
    """Return the most bytes that tensors take while a volume passes through the network."""
    network = fresh_network("default").requires_grad_(False)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        slabwise = SlabwiseUNet(network, torch.ones(1))
        for first in range(0, length, planes):
            slab = torch.zeros(1, IN_CHANNELS, planes, side, side)
            slabwise(slab, last=first + planes == length)
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def test_the_network_takes_no_more_memory_than_expected_and_not_far_less() -> None:
    expected = 48 * 48 * (8 + _DELAYED_PLANES // 2) * BYTES_PER_VOXEL * 4
    assert 0.7 * expected < peak_bytes(planes=8, side=48, length=96) < expected
