"""What most methods share: capabilities with their usual values, and one answer in one call."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.samplers import Callback
from petdiff.errors import UsageError
from petdiff.methods.patches import PATCH


class NetworkMethod(ABC):
    """A method around one network. A subclass states the capabilities that differ from these.

    The capabilities are described at petdiff.methods.base.Method.
    """

    name: ClassVar[str]
    network: nn.Module
    patch: ClassVar[tuple[int, int, int]] = PATCH
    answers_in_one_call: ClassVar[bool] = True
    can_sample: ClassVar[bool] = False
    accepts_dose: ClassVar[bool] = False
    exact_slabs: ClassVar[bool] = False
    needs_suv: ClassVar[bool] = True

    @property
    def axes(self) -> str:
        """Where the voxel axes run in the patient for the network."""
        return "RAS"

    @property
    def precision(self) -> str:
        """What the network should run in."""
        return "auto"

    @property
    def default_steps(self) -> int:
        """Network calls of one answer."""
        return 1

    @property
    def sampling_steps(self) -> int:
        """Network calls of a sample."""
        return 1

    @property
    def trained(self) -> nn.Module:
        """Everything that training changes."""
        return self.network


class OneAnswer:
    """The sampler of a method that always answers the same: one call, whatever the noise."""

    name: ClassVar[str]

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """Return the one answer; UsageError for more steps than one."""
        if steps != 1:
            raise UsageError(f"`steps` is {steps}, but {self.name} answers in one: leave it out")
        sigma = torch.tensor(torch.inf)
        x0 = denoiser(noise, sigma)
        if callback is not None:
            callback(x=noise, i=0, sigma=sigma, denoised=x0)
        return x0
