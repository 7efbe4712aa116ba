"""The denoiser protocol that samplers use, and an adapter that gives a DDPM this form.

A noisy state is x = x0 + σ·noise. A denoiser returns the expected x0. The measured scan is fixed
beforehand, by a closure or functools.partial. At σ = ∞ the state holds no signal; by convention x
is then the unit noise itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from petdiff.diffusion.schedules import sigmas_of


class Denoiser(Protocol):
    """Maps a state x and its noise level sigma (a 0-d tensor) to the expected x0, of x's shape."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor: ...


@runtime_checkable
class VarianceDenoiser(Denoiser, Protocol):
    """A denoiser that also predicts the variance of the ancestral sampler's next step."""

    def with_variance(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expected x0, and the variance of x at sigma_next given x at sigma.

        Both have the shape of x.
        """
        ...


def variance_range(sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest variance of x at sigma_next given x at sigma.

    The smallest holds if x0 is known (β̃ of Ho et al. 2020, eq. 7), the largest if x0 is white
    noise of variance 1 (β). Both are for x = x0 + σ·noise. The paper's variances are for x_t =
    √ᾱ·x; they are these times ᾱ at sigma_next.
    """
    least = sigma_next**2 * (1 - (sigma_next / sigma) ** 2)
    signal = torch.where(sigma.isinf(), 1.0, (sigma**2 - sigma_next**2) / (1 + sigma**2))
    return least, signal * (1 + sigma_next**2)


class DDPMDenoiser:
    """Adapts an ε-predicting DDPM to the denoiser protocol: σ = √((1−ᾱ)/ᾱ), x = x_t/√ᾱ.

    network     (x_t [b, c, …], timestep [b]) → ε [b, c, …], or ε and v [b, 2c, …] if the variance
                is learned; v in −1 … 1 interpolates between the smallest and the largest log
                variance (Nichol & Dhariwal 2021, eq. 15)
    alphas_bar  [T], the schedule of the training; between its levels the timestep is interpolated
                in log σ, beyond them it is that of the nearest level
    clip        range to which x0 is clipped, or None
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
        """Return x0 and the variance of the step; see VarianceDenoiser.

        If the network learned no variance, it is the smallest possible.
        """
        x0, v = self._predict(x, sigma)
        least, greatest = variance_range(sigma, sigma_next)
        if v is None:
            return x0, least.to(x0).expand_as(x0)
        share = (v + 1) / 2
        return x0, (share * greatest.log() + (1 - share) * least.log()).exp()

    def _predict(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor | None]:
        if sigma.isinf():  # no timestep is that noisy: use the noisiest
            sigma = self.sigmas[-1]
            x = (1 + sigma**2).sqrt() * x
        x_t = x / (1 + sigma**2).sqrt()
        # Not in x's dtype: bfloat16 cannot represent 999.
        timestep = self.timestep(sigma).to(x.device, torch.float32).expand(len(x))
        output = self.network(x_t, timestep)
        epsilon, v = output, None
        if output.shape[1] == 2 * x.shape[1]:
            epsilon, v = output.chunk(2, dim=1)
        x0 = x - sigma * epsilon
        return (x0 if self.clip is None else x0.clamp(*self.clip)), v

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the timestep of a σ, 0-d float64; an integer if σ is a level of the schedule."""
        log_sigmas, log_sigma = self.sigmas.log(), sigma.double().cpu().log()
        above = int(torch.searchsorted(log_sigmas, log_sigma).clamp(1, len(log_sigmas) - 1))
        low, high = log_sigmas[above - 1], log_sigmas[above]
        return above - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)


def ddpm_start(noise: Tensor, sigmas: Tensor) -> Tensor:
    """Return noise scaled so that a sampler starts from x_T = noise, as DDPMs do.

    A sampler starts from x = σ·noise, which is x_T = noise·σ/√(1+σ²). Its variance is slightly less
    than the unit variance that a DDPM assumes. The difference is small, but visible in a comparison
    with published DDPM results.
    """
    return noise * (1 + sigmas[0] ** -2).sqrt()
