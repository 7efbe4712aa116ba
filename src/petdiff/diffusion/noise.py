"""Unit noise for samplers, and the noise of several samples, which may be antithetic.

Antithetic samples come in pairs; the second has the negative of the first one's noise, which is as
likely. A denoiser is almost linear in the noise, so that the two samples err in opposite directions
and their mean is close to the mean of infinitely many (Hammersley & Morton 1956; for diffusion
models Jia et al. 2025, arXiv 2506.06185).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# Returns unit noise of the shape, dtype, device and order in memory of its argument.
NoiseSource = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GaussianNoise:
    """A source of unit Gaussian noise.

    sign  1, or −1 for the negative of what the generator draws

    The noise is drawn on the generator's device and in the order of the axes, so that one seed
    gives the same noise on every device and in every order in memory.
    """

    generator: torch.Generator
    sign: Literal[1, -1] = 1

    def __call__(self, x: Tensor) -> Tensor:
        drawn = torch.randn(x.shape, generator=self.generator, device=self.generator.device)
        return torch.empty_like(x).copy_(drawn).mul_(self.sign)


def noise_of_samples(
    generator: torch.Generator, samples: int, *, antithetic: bool
) -> Iterator[NoiseSource]:
    """Yield the noise source of each sample; use up each before the next is taken.

    antithetic  every second sample has the negative noise of the sample before it
    """
    state = generator.get_state()
    for n in range(samples):
        negative = antithetic and n % 2 == 1
        if negative:
            generator.set_state(state)
        state = generator.get_state()
        yield GaussianNoise(generator, -1 if negative else 1)
