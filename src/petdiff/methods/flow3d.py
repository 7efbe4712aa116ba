"""flow3d, the default: one small network, asked once for a mean, a few times for samples.

It denoises r, the ratio to local activity (`local_activity.py`), with Gaussian noise of standard
deviation σ in r. Preconditioning as Karras et al. 2022 (EDM), table 1, with two changes: the noisy
guess enters as its Wiener estimate, which vanishes at σ = ∞, so that there the network is plain
regression; and a gate returns the measured scan where it can be trusted. Beside r it answers how
far the scan's own activity is to be kept at fine scales, which `keep_activity` then does. It can be
told the scan's dose: how much noise the full-dose scan shares with it then need not be guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.samplers import Callback, sample_dpmpp_2m
from petdiff.diffusion.schedules import karras_sigmas
from petdiff.errors import InputRefused, UsageError
from petdiff.methods.local_activity import (
    CHANNELS,
    FIELDS,
    SMOOTHED,
    LocalActivity,
    keep_activity,
    local_activity,
    noise_ratio,
)
from petdiff.methods.patches import own_voxel_mm
from petdiff.networks.unet import UNet, UNetArchitecture
from petdiff.volume.filters import gaussian_smooth

if TYPE_CHECKING:
    from petdiff.methods.model import Contract
    from petdiff.methods.objective import Objective

SIGMA_DATA = 0.3  # standard deviation of the full-dose scan's r in the body, over training slabs
# The σ that samples pass on their way down from ∞: from above to below what scans leave open of r,
# 0.02 where they are good, 0.3 where they are bad. Six steps draw any such Gaussian within a tenth.
SAMPLING_SIGMAS = (0.004, 0.6)
PURE_NOISE_SHARE = (
    0.6  # of the training patches: the one-step answer is the one most often asked for
)
TOLD_SHARE = 0.5  # of the training patches: their dose is told

# What differs between presets is the network's size alone.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (16, 32, 48), "blocks": (1, 1, 1)},
    "default": {"widths": (48, 96, 128), "blocks": (1, 1, 2)},
}


# The network's say grows with the noise to be expected; at this noise it is half of its most. A
# scan with hardly any noise is handed back but for a trace, however hot it is. Where the dose is
# told, its say is but over the counts that the scan lacks: a scan at a share f of the dose has that
# share of the full-dose scan's counts, noise and all, so that full = f · low + (1 − f) · rest as
# far as a reconstruction is linear, and of the rest no noise is known. The network itself sees only
# that it is told: what is to be expected of the rest does not hang on how much of it there is. The
# same factor scales σ_data: less is left unknown of r where the scan is known well.
_TRUSTED_NOISE = 0.1
_GATE_REACH = 1.25  # so that the gate can shut out the measured scan where noise is high
_MAX_WEIGHT = 10.0
_LEAST_NOISE_POWER = 1e-5
_STRUCTURE_ERROR = 0.05  # mean squared error in r that remains however noisy a scan is, roughly


class _Process(BaseModel):
    """What Flow3D takes beside the network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sigma_data: float = Field(gt=0, le=100, default=SIGMA_DATA)


@dataclass
class Flow3D:
    """The denoiser D(x, σ, y) of r on tiles; `bind` makes the fields of a whole scan."""

    network: UNet
    sigma_data: float = SIGMA_DATA
    axes: ClassVar[str] = "RAS"
    precision: ClassVar[str] = "auto"
    default_steps: ClassVar[int] = 1
    sampling_steps: ClassVar[int] = 6
    can_be_told_dose: ClassVar[bool] = True
    needs_suv: ClassVar[bool] = False
    patch: ClassVar[tuple[int, int, int]] = (64, 64, 48)

    @classmethod
    def create(cls, preset: str = "default") -> Flow3D:
        """With fresh weights."""
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} of flow3d: unknown; use {' or '.join(PRESETS)}")
        size = PRESETS[preset] | {"in_channels": FIELDS + 1, "out_channels": 1 + CHANNELS}
        return cls(UNet(UNetArchitecture.model_validate(size)))

    @classmethod
    def from_contract(cls, contract: Contract) -> Flow3D:
        """As a weights file describes it, its weights still to be loaded."""
        from petdiff.methods.model import rebuilt

        architecture = rebuilt(UNetArchitecture, contract.architecture, "flow3d")
        process = rebuilt(_Process, contract.process, "flow3d")
        ends = {"in_channels": FIELDS + 1, "out_channels": 1 + CHANNELS}
        for end, channels in ends.items():
            if getattr(architecture, end) != channels:
                raise InputRefused(
                    f"contract of flow3d: architecture.{end}: of another version of petdiff, "
                    f"whose network did not have {channels} there; train it anew"
                )
        return cls(UNet(architecture), process.sigma_data)

    def contract(self, training: dict[str, Any]) -> Contract:
        """What travels with the weights."""
        from petdiff.methods.model import Contract

        return Contract(
            method="flow3d",
            architecture=self.network.architecture.model_dump(),
            process={"sigma_data": self.sigma_data},
            training=training,
        )

    @property
    def trained(self) -> UNet:
        """All that training changes."""
        return self.network

    def example(self, low: Tensor, full: Tensor, dose: float | None = None) -> Tensor:
        """A pair of scans [i, j, k] → [2 + FIELDS, i, j, k]: r, the low-dose scan's fields, s.

        s, its activity, is over its mean.
        """
        domain = local_activity(low, dose=dose)
        s = domain.activity
        return torch.cat([(full / s - 1)[None], domain.fields, (s / s.mean())[None]])

    def objectives(self) -> list[Objective]:
        """The one loss."""
        from petdiff.methods.objective import Objective

        def denoising(batch: Tensor, generator: torch.Generator) -> Tensor:
            r, fields, activity = torch.split(batch, [1, FIELDS, 1], dim=1)
            told = torch.rand(len(batch), generator=generator) < TOLD_SHARE
            lacking = fields[:, 4:] * told.to(fields).view(-1, 1, 1, 1, 1)
            fields = torch.cat([fields[:, :4], lacking], dim=1)
            return loss(self, r, fields, activity, generator)

        return [Objective("flow3d", list(self.network.parameters()), denoising)]

    @property
    def multiple(self) -> int:
        """Axes of a tile must be multiples of it."""
        return self.network.multiple

    @property
    def halo(self) -> int:
        """What a tile must carry around its core for its answer to be that of the whole."""
        return self.network.radius

    def working_voxel_mm(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """The scan's own voxels; refined or coarsened only where training saw no such size."""
        return own_voxel_mm(voxel_mm)

    def bind(
        self, y: Tensor, dtype: torch.dtype = torch.float32, dose: float | None = None
    ) -> LocalActivity:
        """The scan y [i, j, k] in SUV, made ready for `denoise`."""
        return local_activity(y, dtype, dose)

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """From pure noise down; one step is the posterior mean.

        Steps that end far above the width of what is left open would draw the mean, not samples.
        """
        falling = karras_sigmas(steps - 1, *SAMPLING_SIGMAS)
        sigmas = torch.cat([falling.new_tensor([math.inf]), falling])
        return sample_dpmpp_2m(denoiser, noise, sigmas, generator=generator, callback=callback)

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Expected r, given x = r + σ·noise [b, 1, i, j, k] and the scan's fields.

        fields are [b, FIELDS, i, j, k], sigma is [b]; where it is ∞, x is not looked at (but must
        be finite). The answer is [b, CHANNELS, i, j, k]: r, and how far the scan itself is to be
        trusted, for `settle`.
        """
        noise = noise_ratio(fields[:, 3:4].float())
        lacking = fields[:, 4:5].float()
        strength = noise / (noise + _TRUSTED_NOISE) * lacking.where(lacking > 0, 1)
        level = sigma.view(-1, 1, 1, 1, 1)
        _, _, c_in, t = preconditioning(level, self.sigma_data)
        c_skip, c_out, _, _ = preconditioning(level, self.sigma_data * strength)
        told = (lacking > 0).to(fields.dtype)
        seen = torch.cat([fields[:, :4], told, (c_in * x).to(fields.dtype)], dim=1)
        answer = self.network(seen, t.flatten()).float()
        gate, change, trust = torch.split(answer, [1, 1, CHANNELS - 1], dim=1)
        measured = (1 - strength * _GATE_REACH * torch.sigmoid(gate)) * fields[:, :1]
        r = c_skip * x + (1 - c_skip) * measured + c_out * change
        return torch.cat([r, trust], dim=1)


def preconditioning(
    sigma: Tensor, sigma_data: Tensor | float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(c_skip, c_out, c_in, t) for σ in (0, ∞], each of sigma's shape.

    c_skip = σd²/(σ²+σd²) and c_out = σ·σd/√(σ²+σd²) are EDM's; c_in = σd/(σ²+σd²) makes c_in·x the
    Wiener estimate of r from x alone, over σd; t = σ/(σ+σd) is the flow's time. All are finite at
    σ = ∞.
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
    activity: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Denoising loss of a batch, a scalar.

    r         ratio of the full-dose scan [b, 1, i, j, k]
    fields    of the low-dose scan [b, FIELDS, i, j, k]
    activity  of the low-dose scan, over its mean [b, 1, i, j, k]

    A voxel's weight is its activity, between absolute and relative error, in one half of the loss,
    and its square, so absolute error as PSNR has it, in the other.

    Each patch is divided by about the error that a good answer leaves, which is bounded by the
    scan's noise power, by σ², and by how well structure can be told: so every dose and σ counts.
    The logarithm, as decibels do, keeps one hopeless patch from outweighing the rest.
    """
    b = len(r)
    time = torch.rand(b, generator=generator).clamp(0.02, 0.98).to(r)
    sigma = method.sigma_data * time / (1 - time)
    pure = torch.rand(b, generator=generator).to(r) < PURE_NOISE_SHARE
    noise = torch.randn(r.shape, generator=generator).to(r)
    per_sample = (-1, 1, 1, 1, 1)
    x = torch.where(pure.view(per_sample), 0.0, r + sigma.view(per_sample) * noise)
    sigma = torch.where(pure, torch.inf, sigma)
    # As for a whole scan: smoothed activity below 0 has no power, and the loss would be NaN.
    scan = (activity * (1 + fields[:, :1])).clamp(min=0)
    smoothed = {width: gaussian_smooth(scan, width) for width in SMOOTHED}
    answer = torch.split(method.denoise(x, sigma, fields), 1, dim=1)
    error = (keep_activity(answer, activity, smoothed, fields[:, 3:4]) - r).square()
    noise_power = (fields[:, :1] - r).square()
    elsewhere = 1 / _STRUCTURE_ERROR + 1 / sigma.square()

    def over_what_a_good_answer_leaves(weight: Tensor) -> Tensor:
        error_left, noise = ((weight * each).mean((1, 2, 3, 4)) for each in (error, noise_power))
        scale = weight.mean((1, 2, 3, 4))
        return (error_left / scale * (1 / (noise / scale + _LEAST_NOISE_POWER) + elsewhere)).log1p()

    between = over_what_a_good_answer_leaves(activity.clamp(max=_MAX_WEIGHT))
    absolute = over_what_a_good_answer_leaves(activity.square())
    return (between + absolute).mean() / 2
