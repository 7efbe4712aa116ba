"""The published DDPM: in 3-D as published, and in 2-D on axial slices.

Yu et al. 2025, doi 10.1007/s00259-025-07122-4: a DDPM with the measured scan as second input. SUV
is clipped at 16 and divided by 16. The network's GroupNorm has statistics over the whole input, so
that the result depends on how a scan is cut: windows overlap and are blended. The published weights
were trained with 1.65 mm voxels and axial windows of 96 slices. Their output depends on the width
of the field, so that narrow scans are surrounded by air up to the width in training. Networks
trained by petdiff use patches of scans of any voxel size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import EllipsisType
from typing import Annotated, ClassVar, Literal, Required, Self, TypedDict

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from petdiff.diffusion.denoiser import DDPMDenoiser, Denoiser, ddpm_start
from petdiff.diffusion.losses import add_noise, ddpm_loss
from petdiff.diffusion.noise import NoiseSource
from petdiff.diffusion.samplers import sample_ancestral
from petdiff.diffusion.schedules import ddpm_sigmas, linear_alphas_bar, respaced_timesteps
from petdiff.methods.base import WindowedMethod
from petdiff.methods.card import Domain, ModelCard, part_of_card
from petdiff.methods.clipped_suv import CLIP_SUV, ClippedScan, clipped, clipped_scan
from petdiff.methods.patches import OVERLAP, PATCH, PatientAxes, VoxelRange, Voxels
from petdiff.networks.published import Architecture, PublishedUNet
from petdiff.volume.regions import Spacing


class Size(TypedDict, total=False):
    """A size of the published layout: arguments of Architecture.scaled."""

    channels: Required[int]
    multipliers: tuple[int, ...]
    residual_blocks: int


# In 3-D 206,964,610 parameters and 22.2 MFLOP per voxel and step; in 2-D 77,194,114 and 7.6.
PAPER: Size = {"channels": 128}

Place = tuple[slice | EllipsisType, ...]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Margin = Annotated[int, Field(ge=0, le=4096)]


class Process(BaseModel, frozen=True, extra="forbid"):
    """The settings of training, which denoising must use as well. Defaults are the published ones.

    timesteps, beta_first, beta_last  of the linear schedule
    x0_range    range to which each predicted x0 is clipped
    clip_suv    SUV that is 1 in the network's domain; hotter voxels are clipped to it
    voxel_mm    size of isotropic voxels; None: that of the scan, limited to `voxels`
    voxels      range of voxel sizes in training, if voxel_mm is None
    axes        directions of voxel axes i, j, k in the patient. The publication shows that k is
                axial and i the wider of the others; their directions are assumed to be those of
                DICOM's columns and rows
    tile        voxels along i and j of one input of the network; None: all of them
    slab        voxels along k, the axial axis, of one input of the network
    overlap     voxels over which neighbouring windows are blended
    field       voxels along i and j in training; narrower scans are surrounded by air
    precision   of the network's arithmetic. The error of bfloat16 with the published weights was
                not measured
    """

    timesteps: int = Field(ge=2, le=100_000, default=1000)
    beta_first: float = Field(gt=0, lt=1, default=1e-4)
    beta_last: float = Field(gt=0, lt=1, default=0.02)
    x0_range: tuple[Finite, Finite] = (-1.0, 1.0)
    clip_suv: float = Field(gt=0, le=1e6, default=CLIP_SUV)
    voxel_mm: float | None = Field(ge=0.1, le=100, default=1.65)
    voxels: VoxelRange = VoxelRange()
    axes: PatientAxes = "LPS"
    tile: tuple[Voxels, Voxels] | None = None
    slab: Voxels = 96
    overlap: int = Field(ge=0, le=1024, default=10)
    field: tuple[Margin, Margin] = (288, 192)
    precision: Literal["auto", "float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> Self:
        if not self.x0_range[0] < self.x0_range[1]:
            raise ValueError(f"x0_range {self.x0_range} must rise")
        return self

    @classmethod
    def of_patches(cls, patch: tuple[int, int, int]) -> Process:
        """Return the settings for training on patches of scans at their own voxel size."""
        i, j, k = patch
        return cls(
            voxel_mm=None,
            axes="RAS",
            tile=(i, j),
            slab=k,
            overlap=OVERLAP,
            field=(0, 0),
            precision="auto",
        )

    @property
    def alphas_bar(self) -> Tensor:
        return linear_alphas_bar(self.timesteps, self.beta_first, self.beta_last)


@dataclass
class PublishedDDPM(WindowedMethod):
    """The published network, its process, its loss and its sampler."""

    network: PublishedUNet
    constants: Process
    name: ClassVar[str] = "ddpm3d"
    domain: ClassVar[Domain] = "clipped_suv"
    dims: ClassVar[Literal[2, 3]] = 3
    default_steps: ClassVar[int] = 1000
    sampling_steps: ClassVar[int] = 1000
    one_call_gives_mean: ClassVar[bool] = False
    can_sample: ClassVar[bool] = True

    @property
    def max_steps(self) -> int:
        """The number of timesteps."""
        return self.constants.timesteps

    @classmethod
    def create(cls, size: Size) -> Self:
        """Return the method with fresh weights, to be trained on patches."""
        architecture = Architecture.scaled(**size, dims=cls.dims)
        return cls(PublishedUNet(architecture), Process.of_patches(cls.patch))

    @classmethod
    def from_card(cls, card: ModelCard) -> Self:
        """Return the method that a card describes, without its trained weights.

        Raises InputRefused, naming the entry, if the card is invalid.
        """
        architecture = part_of_card(Architecture, card, "architecture")
        return cls(PublishedUNet(architecture), part_of_card(Process, card, "constants"))

    @property
    def axes(self) -> str:
        """Directions of the voxel axes in the patient."""
        return self.constants.axes

    @property
    def precision(self) -> str:
        """Precision of the network's arithmetic."""
        return self.constants.precision

    @property
    def window(self) -> tuple[int | None, int | None, int]:
        """Voxels of one input of the network."""
        return (*(self.constants.tile or (None, None)), self.constants.slab)

    @property
    def overlap(self) -> tuple[int, int, int]:
        """Voxels over which neighbouring windows are blended."""
        return (self.constants.overlap,) * 3

    def working_voxel_mm(self, voxel_mm: Spacing) -> Spacing:
        """Return the voxel size of training, or that of the scan if any size was trained."""
        if self.constants.voxel_mm is None:
            return self.constants.voxels.nearest(voxel_mm)
        return (self.constants.voxel_mm,) * 3

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> ClippedScan:
        """Return the scan y [i, j, k], in SUV, in the published domain; `drf` is not used."""
        return clipped_scan(y, self.constants.clip_suv, dtype)

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return the expected x0 [b, 1, i, j, k] of single windows x = x0 + σ·noise.

        sigma is [b]; i and j must be multiples of `multiple`.
        """
        estimates = []
        for n, one_sigma in enumerate(sigma):
            network = partial(self.predict, fields=fields[n : n + 1])
            estimates.append(self.adapter(network)(x[n : n + 1], one_sigma))
        return torch.cat(estimates)

    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> DDPMDenoiser:
        """Return the denoiser of a function (x_t, timestep) → raw output for any volume."""
        return DDPMDenoiser(network, self.constants.alphas_bar, self.constants.x0_range)

    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """Return the network's raw output [b, c, i, j, k] for single windows.

        A scan that is narrower than the field in training is surrounded by air as noisy as x_t.
        """
        channels = torch.cat([x_t.to(fields.dtype), fields], dim=1)
        wide, middle = self._in_air(channels, timestep)
        scan: Tensor = self._network_output(wide, timestep)[middle].float()
        return scan

    def sample(self, denoiser: Denoiser, noise: Tensor, steps: int, source: NoiseSource) -> Tensor:
        """Sample ancestrally at `steps` of the timesteps, evenly from the first to the last."""
        alphas_bar = self.constants.alphas_bar
        sigmas = ddpm_sigmas(alphas_bar, respaced_timesteps(len(alphas_bar), steps))
        start = ddpm_start(noise, sigmas)
        return sample_ancestral(denoiser, start, sigmas, source)

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return a pair of scans [i, j, k], in SUV, for the loss [2, i, j, k]: full, low."""
        return clipped(torch.stack([full, low]), self.constants.clip_suv)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return Nichol & Dhariwal's hybrid loss of [b, 2, i, j, k] at random timesteps."""
        x0, y = batch.chunk(2, dim=1)
        timestep = torch.randint(self.constants.timesteps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        timestep, alphas_bar = timestep.to(x0.device), self.constants.alphas_bar
        output = self.predict(add_noise(x0, noise, timestep, alphas_bar), timestep, y)
        return ddpm_loss(output, x0, noise, timestep, alphas_bar).total.mean()

    def _network_output(self, channels: Tensor, timestep: Tensor) -> Tensor:
        # The network's axes are axial, anterior–posterior, left–right: k, j, i.
        output: Tensor = self.network(channels.transpose(2, 4), timestep).transpose(2, 4)
        return output

    def _in_air(self, channels: Tensor, timestep: Tensor) -> tuple[Tensor, Place]:
        """Return [b, 2, i, j, k] amid air up to the width in training, and its place in it."""
        b, c, i, j, k = channels.shape
        wide_i, wide_j = (
            max(n, least) for n, least in zip((i, j), self.constants.field, strict=True)
        )
        if (wide_i, wide_j) == (i, j):
            return channels, (...,)
        deviation = (1 - self.constants.alphas_bar[timestep.long().cpu()]).sqrt().to(channels)
        # The noise is the same at each step, so that the state of the air changes as smoothly as
        # that of the scan.
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(wide_i, wide_j, k, generator=generator).to(channels)
        wide = channels.new_zeros(b, c, wide_i, wide_j, k)
        wide[:, 0] = deviation.view(-1, 1, 1, 1) * noise
        first_i, first_j = (wide_i - i) // 2, (wide_j - j) // 2
        middle = (..., slice(first_i, first_i + i), slice(first_j, first_j + j), slice(None))
        wide[middle] = channels
        return wide, middle


@dataclass
class PublishedDDPM2D(PublishedDDPM):
    """PublishedDDPM with a 2-D network over i and j: each axial slice is denoised separately.

    Neighbouring slices are similar only because the measured scan is continuous. The noise of
    samples is independent between slices.
    """

    name: ClassVar[str] = "ddpm2d"
    dims: ClassVar[Literal[2, 3]] = 2
    patch: ClassVar[tuple[int, int, int]] = (*PATCH[:2], 16)

    @property
    def overlap(self) -> tuple[int, int, int]:
        """Voxels over which neighbouring windows are blended; 0 along k, where there are slices."""
        return (self.constants.overlap, self.constants.overlap, 0)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the 2-D loss, with a timestep for each slice of [b, 2, i, j, k]."""
        return super().loss(slices_of(batch)[..., None], generator)

    def _network_output(self, channels: Tensor, timestep: Tensor) -> Tensor:
        b, k = len(channels), channels.shape[-1]
        each = timestep.repeat_interleave(k)
        output: Tensor = self.network(slices_of(channels).transpose(2, 3), each).transpose(2, 3)
        return output.reshape(b, k, *output.shape[1:]).movedim(1, -1)


def slices_of(volumes: Tensor) -> Tensor:
    """Return [b, c, i, j, k] as axial slices [b·k, c, i, j]."""
    return volumes.movedim(-1, 1).flatten(0, 1)
