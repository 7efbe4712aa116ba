"""flow3d, the default: one small network from the posterior mean (asked once) to samples (a few times).

It denoises r, the ratio to local activity (`local_activity.py`), with Gaussian noise of standard
deviation σ in r. Preconditioning as Karras et al. 2022 (EDM), table 1, with two changes: the noisy guess
enters as its Wiener estimate, which vanishes at σ = ∞, so that there the network is plain regression;
and a gate returns the measured scan where it can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from petdiff.methods.local_activity import LocalActivity, local_activity
from petdiff.networks.unet import UNet

SIGMA_DATA = 0.3  # standard deviation of the full-dose scan's r in the body, over training slabs
PURE_NOISE_SHARE = (
    0.6  # of the training patches: the one-step answer is the one most often asked for
)

# What differs between presets is the network's size alone.
PRESETS = {
    "tiny": {"widths": (16, 32, 48), "blocks": (1, 1, 1)},
    "default": {"widths": (48, 96, 128), "blocks": (1, 1, 2)},
}


@dataclass
class Flow3D:
    """The denoiser D(x, σ, y) of r on tiles; `bind` makes the fields of a whole scan."""

    network: UNet
    sigma_data: float = SIGMA_DATA

    @classmethod
    def create(cls, preset: str = "default") -> Flow3D:
        return cls(UNet(4, 2, **PRESETS[preset]))

    def bind(self, y: Tensor, dtype: torch.dtype = torch.float32) -> LocalActivity:
        """The scan y [..., i, j, k] in SUV, made ready for `denoise`."""
        return local_activity(y, dtype)

    def denoise(self, x: Tensor | None, sigma: Tensor, fields: Tensor) -> Tensor:
        """Expected r [b, 1, i, j, k], given x = r + σ·noise and the scan's fields [b, 3, i, j, k].

        x may be None where σ = ∞; sigma is [b] (σ = ∞ allowed sample by sample).
        """
        keep, correct, wiener, t = (
            c.view(-1, 1, 1, 1, 1) for c in preconditioning(sigma, self.sigma_data)
        )
        x = torch.zeros_like(fields[:, :1]) if x is None else x
        seen = torch.cat([fields, (wiener * x).to(fields.dtype)], dim=1)
        gate, change = self.network(seen, t.flatten()).float().split(1, dim=1)
        measured = torch.sigmoid(2 * gate) * fields[:, :1]
        return keep * x + (1 - keep) * measured + correct * change


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(c_skip, c_out, c_in, t) for σ in (0, ∞], each of sigma's shape.

    c_skip = σd²/(σ²+σd²) and c_out = σ·σd/√(σ²+σd²) are EDM's; c_in = σd/(σ²+σd²) makes c_in·x the Wiener
    estimate of r from x alone, over σd; t = σ/(σ+σd) is the flow's time. All are finite at σ = ∞.
    """
    t = torch.where(sigma.isinf(), 1.0, sigma / (sigma + sigma_data))
    signal = torch.where(sigma.isinf(), 0.0, sigma_data / (sigma + sigma_data))  # 1 - t, exactly
    power = t.square() + signal.square()
    return (
        signal.square() / power,
        sigma_data * t / power.sqrt(),
        signal.square() / power / sigma_data,
        t,
    )


def loss(
    method: Flow3D,
    r: Tensor,
    fields: Tensor,
    weight: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Denoising loss of a batch, a scalar.

    r       ratio of the full-dose scan [b, 1, i, j, k]
    fields  of the low-dose scan [b, 3, i, j, k]
    weight  of each voxel [b, 1, i, j, k]

    EDM's weight 1/c_out² makes every σ count alike; each patch is divided by the root of its own noise
    power, so that scans of little noise count too.
    """
    b = len(r)
    time = torch.rand(b, generator=generator).clamp(0.02, 0.98).to(r)
    sigma = method.sigma_data * time / (1 - time)
    pure = torch.rand(b, generator=generator).to(r) < PURE_NOISE_SHARE
    noise = torch.randn(r.shape, generator=generator).to(r)
    per_sample = (-1, 1, 1, 1, 1)
    x = torch.where(pure.view(per_sample), 0.0, r + sigma.view(per_sample) * noise)
    sigma = torch.where(pure, torch.inf, sigma)
    _, c_out, _, _ = preconditioning(sigma, method.sigma_data)
    error = (method.denoise(x, sigma, fields) - r).square()
    noise_power = (weight * (fields[:, :1] - r).square()).mean(dim=(1, 2, 3, 4))
    per_patch = (weight * error).mean(dim=(1, 2, 3, 4)) / c_out.square()
    return (per_patch / (noise_power + 1e-4).sqrt()).mean()
