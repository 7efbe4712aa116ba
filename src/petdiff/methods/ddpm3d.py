"""ddpm3d, the published one: a 3-D DDPM that sees the measured scan beside the noisy guess.

Yu et al. 2025, doi 10.1007/s00259-025-07122-4. It works on SUV clipped at 16 and divided by 16, at
1.65 mm, in axial slabs of 96 voxels. Its GroupNorm takes statistics of a whole slab, so that slabs
cannot be cut without trace: they overlap and are blended, and what lies around a scan matters, so
that narrow scans are set into air as wide as the network was trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from petdiff.diffusion.denoiser import DDPMDenoiser, Denoiser, ddpm_start
from petdiff.diffusion.samplers import Callback, sample_ancestral
from petdiff.diffusion.schedules import ddpm_sigmas, linear_alphas_bar, respaced_timesteps
from petdiff.errors import InputRefused, UsageError
from petdiff.networks.published import Architecture, PublishedUNet

if TYPE_CHECKING:
    from petdiff.methods.model import Contract


class Process(BaseModel):
    """How the network was trained, and so must be asked; by default, as the published one.

    timesteps, beta_first, beta_last  of the linear schedule
    x0_range    to which each predicted x0 is clipped
    clip_suv    SUV that is 1 in the network's domain; hotter voxels are clipped to it
    voxel_mm    isotropic voxels
    axes        where voxel axes i, j, k run in the patient. The publication shows that k is axial
                and i the wider of the others; their directions are taken to be those of DICOM's
                columns and rows
    slab        voxels along k, the axial axis, that the network sees at once
    overlap     voxels over which neighbouring slabs are blended
    field       voxels along i and j that the network was trained with; narrower scans lie in air
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timesteps: int = 1000
    beta_first: float = 1e-4
    beta_last: float = 0.02
    x0_range: tuple[float, float] = (-1.0, 1.0)
    clip_suv: float = 16.0
    voxel_mm: float = 1.65
    axes: str = "LPS"
    slab: int = 96
    overlap: int = 10
    field: tuple[int, int] = (288, 192)

    @property
    def alphas_bar(self) -> Tensor:
        return linear_alphas_bar(self.timesteps, self.beta_first, self.beta_last)


@dataclass(frozen=True)
class ClippedScan:
    """A scan in the network's domain, fields [1, i, j, k], and what clipping took off it."""

    fields: Tensor
    excess_suv: Tensor
    clip_suv: float

    def settle(self, x0: Tensor) -> Tensor:
        """Nothing has to hold for the volume as a whole."""
        return x0

    def decode(self, x: Tensor) -> Tensor:
        """The domain [i, j, k] → SUV, with what was clipped put back on top.

        So uptake beyond the clip is kept as it was measured, noise included, and meets the denoised
        scan without a step.
        """
        return x * self.clip_suv + self.excess_suv


@dataclass
class DDPM3D:
    """The published network, its process and its sampler."""

    network: PublishedUNet
    process: Process = Process()  # noqa: RUF009, frozen
    precision: ClassVar[str] = "float32"  # as trained: what bfloat16 costs was not measured
    default_steps: ClassVar[int] = 1000
    sampling_steps: ClassVar[int] = 1000
    halo: ClassVar[int] = 0

    @classmethod
    def from_contract(cls, contract: Contract) -> DDPM3D:
        """As a weights file describes it, its weights still to be loaded.

        Raises InputRefused, naming the entry, where the description makes no sense.
        """
        try:
            architecture = TypeAdapter(Architecture).validate_python(contract.architecture)
            process = Process.model_validate(contract.process)
            return cls(PublishedUNet(architecture), process)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputRefused(f"contract of ddpm3d: {where}: {first['msg']}") from error

    @property
    def axes(self) -> str:
        """Where the voxel axes run that the network has learnt to expect."""
        return self.process.axes

    @property
    def multiple(self) -> int:
        """Axes of a tile must be multiples of it."""
        return self.network.architecture.inner_multiple

    @property
    def blend(self) -> int:
        """Voxels over which tiles are blended, as no halo makes them exact."""
        return self.process.overlap

    def working_voxel_mm(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """The only voxel size that the network knows."""
        return (self.process.voxel_mm,) * 3

    def bind(self, y: Tensor, dtype: torch.dtype = torch.float32) -> ClippedScan:
        """The scan y [i, j, k] in SUV, made ready for `denoise`."""
        clip_suv = self.process.clip_suv
        fields = (y.clamp(max=clip_suv) / clip_suv).to(dtype)[None]
        return ClippedScan(fields, (y - clip_suv).clamp(min=0), clip_suv)

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Expected x0 [b, 1, i, j, k] of single slabs, given x = x0 + σ·noise and their fields.

        sigma is [b]; i and j must be multiples of `multiple`.
        """
        answers = []
        for n, one_sigma in enumerate(sigma):
            ask = partial(self.predict, fields=fields[n : n + 1])
            answers.append(self.adapter(ask)(x[n : n + 1], one_sigma))
        return torch.cat(answers)

    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> DDPMDenoiser:
        """`network`, which answers (x_t, timestep) for a volume of any size, as a denoiser."""
        return DDPMDenoiser(network, self.process.alphas_bar, self.process.x0_range)

    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """The network's raw answer [b, c, i, j, k] for single slabs; i and j as for `denoise`.

        Around a scan narrower than the trained field lies air, as noisy as x_t.
        """
        seen = torch.cat([x_t.to(fields.dtype), fields], dim=1)
        wide, middle = self._in_air(seen, timestep)
        # The network's axes are axial, anterior–posterior, left–right: k, j, i.
        answer = self.network(wide.transpose(2, 4), timestep).transpose(2, 4)
        scan: Tensor = answer[middle].float()
        return scan

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """Ancestral sampling over `steps` of the timesteps, spread from the first to the last."""
        if steps > self.process.timesteps:
            raise UsageError(f"--steps {steps}: this model has {self.process.timesteps}")
        alphas_bar = self.process.alphas_bar
        sigmas = ddpm_sigmas(alphas_bar, respaced_timesteps(len(alphas_bar), steps))
        start = ddpm_start(noise, sigmas)
        return sample_ancestral(denoiser, start, sigmas, generator=generator, callback=callback)

    def _in_air(self, seen: Tensor, timestep: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """`seen` [b, 2, i, j, k] amid air that fills the trained field, and where it lies there."""
        b, c, i, j, k = seen.shape
        wide_i, wide_j = (
            max(n, least) for n, least in zip((i, j), self.process.field, strict=True)
        )
        if (wide_i, wide_j) == (i, j):
            return seen, (...,)
        spread = (1 - self.process.alphas_bar[timestep.long().cpu()]).sqrt().to(seen)
        # The same noise at each step, so that the air takes one path, as the scan does.
        noise = torch.randn(wide_i, wide_j, k, generator=torch.Generator().manual_seed(0)).to(seen)
        wide = seen.new_zeros(b, c, wide_i, wide_j, k)
        wide[:, 0] = spread.view(-1, 1, 1, 1) * noise
        first_i, first_j = (wide_i - i) // 2, (wide_j - j) // 2
        middle = (..., slice(first_i, first_i + i), slice(first_j, first_j + j), slice(None))
        wide[middle] = seen
        return wide, middle


def contract(network: PublishedUNet, process: Process, origin: str) -> Contract:
    """What travels with converted weights. The licence is the published weights'."""
    from petdiff.methods.model import Contract

    return Contract(
        method="ddpm3d",
        architecture=asdict(network.architecture),
        process=process.model_dump(),
        training={"origin": origin},
        licence="CC BY-NC-SA 4.0",
    )
