"""Noise sources, and the pairs of opposite noise that several samples are drawn from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from petdiff.diffusion.noise import GaussianNoise, noise_of_samples


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(samples: int, *, antithetic: bool) -> list[list[Tensor]]:
    """Return two noises of each sample."""
    x = torch.zeros(2, 3, 4)
    sources = noise_of_samples(seeded(), samples, antithetic=antithetic)
    return [[source(x), source(x)] for source in sources]


def test_noise_is_what_the_generator_draws_in_any_order_in_memory() -> None:
    x = torch.zeros(4, 3, 2, dtype=torch.float64).permute(2, 1, 0)
    noise = GaussianNoise(seeded())(x)
    assert torch.equal(noise, torch.randn(2, 3, 4, generator=seeded()).double())
    assert noise.stride() == x.stride()


def test_independent_samples_use_one_stream() -> None:
    generator = seeded()
    stream = [torch.randn(2, 3, 4, generator=generator) for _ in range(6)]
    noises = [noise for sample in drawn(3, antithetic=False) for noise in sample]
    assert all(torch.equal(*both) for both in zip(noises, stream, strict=True))


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_each_second_antithetic_sample_has_the_negative_noise(samples: int) -> None:
    noises = drawn(samples, antithetic=True)
    generator = seeded()
    for first in range(0, samples, 2):
        stream = [torch.randn(2, 3, 4, generator=generator) for _ in range(2)]
        for sample, sign in zip(noises[first : first + 2], (1, -1), strict=False):
            assert all(
                torch.equal(noise, sign * of_stream)
                for noise, of_stream in zip(sample, stream, strict=True)
            )
