"""The denoiser, the one thing that samplers know, and the adapter that makes a DDPM look like one.

x = x0 + σ·noise. A denoiser answers the expected x0; the measured scan is bound beforehand (by a
closure or functools.partial). At σ = ∞ x holds nothing of x0, by convention just the unit noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from petdiff.diffusion.schedules import sigmas_of


class Denoiser(Protocol):
    """denoiser(x, sigma) → the expected x0, of x's shape; sigma is a 0-d tensor."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor: ...


@runtime_checkable
class VarianceDenoiser(Denoiser, Protocol):
    """A denoiser that also knows how far the ancestral sampler's next step should scatter."""

    def with_variance(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """The expected x0, and the variance of x at sigma_next given x at sigma; of x's shape."""
        ...


def variance_range(sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest variance of x at sigma_next given x at sigma.

    Least where x0 is known (β̃ of Ho et al. 2020, eq. 7), greatest where x0 is white noise of
    variance 1 (β), both for x scaled as here: DDPM's own are ᾱ of sigma_next times as large.
    """
    least = sigma_next**2 * (1 - (sigma_next / sigma) ** 2)
    signal = torch.where(sigma.isinf(), 1.0, (sigma**2 - sigma_next**2) / (1 + sigma**2))
    return least, signal * (1 + sigma_next**2)


class DDPMDenoiser:
    """An ε-predicting DDPM as a denoiser: σ = √((1−ᾱ)/ᾱ), x = x_t/√ᾱ.

    network     (x_t [b, c, …], timestep [b]) → ε [b, c, …], or ε and v [b, 2c, …] where the
                variance is learned, as a place v in its range, −1 … 1 (Nichol & Dhariwal 2021,
                eq. 15)
    alphas_bar  [T], what the network was trained with; between its levels the timestep is
                interpolated in log σ, beyond them it stays at the last
    clip        the range that x0 is known to lie in, or None
    """

    def __init__(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        alphas_bar: Tensor,
        clip: tuple[float, float] | None = (-1.0, 1.0),
    ) -> None:
        self.network = network
        self.sigmas = sigmas_of(alphas_bar.double().cpu())
        self.clip = clip

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._predict(x, sigma)[0]

    def with_variance(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """See VarianceDenoiser; the least variance where the network has learned none."""
        x0, place = self._predict(x, sigma)
        least, greatest = variance_range(sigma, sigma_next)
        if place is None:
            return x0, least.to(x0).expand_as(x0)
        share = (place + 1) / 2
        return x0, (share * greatest.log() + (1 - share) * least.log()).exp()

    def _predict(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor | None]:
        if sigma.isinf():  # no timestep is that noisy; the noisiest one stands in
            sigma = self.sigmas[-1]
            x = (1 + sigma**2).sqrt() * x
        x_t = x / (1 + sigma**2).sqrt()
        # Not in x's dtype: bfloat16 has no 999.
        timestep = self.timestep(sigma).to(x.device, torch.float32).expand(len(x))
        output = self.network(x_t, timestep)
        epsilon, place = output, None
        if output.shape[1] == 2 * x.shape[1]:
            epsilon, place = output.chunk(2, dim=1)
        x0 = x - sigma * epsilon
        return (x0 if self.clip is None else x0.clamp(*self.clip)), place

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep, 0-d float64; a whole number where σ is one of the schedule's."""
        log_sigmas, log_sigma = self.sigmas.log(), sigma.double().cpu().log()
        above = int(torch.searchsorted(log_sigmas, log_sigma).clamp(1, len(log_sigmas) - 1))
        low, high = log_sigmas[above - 1], log_sigmas[above]
        return above - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)


def ddpm_start(noise: Tensor, sigmas: Tensor) -> Tensor:
    """The noise to hand a sampler so that it starts as DDPMs do, from x_T = noise.

    A sampler starts from x = σ·noise, which is x_T = noise·σ/√(1+σ²): short of the unit variance
    that DDPMs assume of x_T. The difference is small, but shows beside their own results.
    """
    return noise * (1 + sigmas[0] ** -2).sqrt()
