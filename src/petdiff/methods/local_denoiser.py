"""The denoiser of all methods of the local-activity domain: one network and its gate.

The network denoises r, the ratio to local activity (`local_activity.py`), with Gaussian noise of
standard deviation σ in r. Preconditioning is that of Karras et al. 2022 (EDM, arXiv 2206.00364),
table 1, with two changes. First, the input of the network is the Wiener estimate of r from the
noisy state x. It is 0 at σ = ∞, where the network is a plain regression. Second, a gate mixes the
measured scan into the estimate where its noise is low. With EDM's preconditioning the network
predicts the velocity (Salimans & Ho 2022, arXiv 2202.00512) up to its sign. It also predicts the
trust: how far the scan's own activity is preserved at fine scales (`activity_preservation.py`).

The change that the network can make grows with the expected noise. At a noise of `trusted_noise` it
is half of its maximum. A scan with hardly any noise is returned almost unchanged, however hot it
is. If the dose is known, the network can change only the counts that the scan lacks. A scan at a
share f of the dose has this share of the counts of the full-dose scan, with their noise. So full =
f · low + (1 − f) · rest, as far as the reconstruction is linear, and the noise of the rest is not
known. The network's input tells only whether the dose is known, because the expected value of the
rest does not depend on f. The same factor scales σ_data, because the remaining uncertainty of r is
smaller if more counts were measured.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from petdiff.errors import InputRefused
from petdiff.methods.activity_preservation import preserve_activity
from petdiff.methods.base import FieldsOf, SlabMethod, require_preset
from petdiff.methods.card import Domain, ModelCard, part_of_card
from petdiff.methods.local_activity import (
    LocalActivity,
    OutputChannel,
    ScanChannel,
    channel,
    local_activity,
    noise_ratio,
)
from petdiff.methods.local_activity_constants import LocalActivityConstants
from petdiff.methods.local_training import Example, some_doses_unknown, split_example
from petdiff.methods.patches import VoxelRange
from petdiff.networks.int8 import Ranges
from petdiff.networks.reversed_axes import with_reversed_axes
from petdiff.networks.slabwise import SlabwiseNetwork, SlabwiseUNet
from petdiff.networks.unet import UNet, UNetArchitecture
from petdiff.volume.planes import parts_of
from petdiff.volume.regions import Spacing

IN_CHANNELS = len(ScanChannel) + 1  # and the noisy state
OUT_CHANNELS = len(OutputChannel) + 1  # r is computed from gate and change

# Sizes of the networks by preset. "default" has 3,429,568 parameters in three dimensions.
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "tiny": {"widths": (16, 32, 48), "blocks": (1, 1, 1)},
    "default": {"widths": (48, 96, 128), "blocks": (1, 1, 2)},
}
Level = Annotated[float, Field(gt=0, le=1e3)]


class LocalConstants(BaseModel, frozen=True, extra="forbid"):
    """All numbers that affect the output beside the network's weights, each with its source."""

    sigma_data: float = Field(
        default=0.3,
        gt=0,
        le=100,
        description="standard deviation of the full-dose r in the body; training volumes",
    )
    trusted_noise: Level = Field(
        default=0.1, description="noise at which half of the largest change is possible; lab book 2"
    )
    gate_reach: float = Field(
        default=1.25,
        gt=0,
        le=10,
        description="largest share of the measured scan that the gate removes; above 1, so that it "
        "can remove all of the scan where noise is high; chosen",
    )
    sampling_sigmas: tuple[Level, Level] = Field(
        default=(0.004, 0.6),
        description="lowest and highest σ of a sampler after ∞: below and above the posterior "
        "standard deviation of r, 0.02 in good scans to 0.3 in poor ones; lab book 17",
    )
    sampling_steps: int = Field(
        default=6,
        ge=1,
        le=10_000,
        description="network calls of a sample; six draw a Gaussian of any such width within a "
        "tenth; lab book 17",
    )
    voxels: VoxelRange = VoxelRange()
    domain: LocalActivityConstants = LocalActivityConstants()


@dataclass
class LocalDenoiser(SlabMethod):
    """The denoiser D(x, σ, y) of r. A method is a subclass with a loss and a sampler.

    ranges     ranges of the network's activations; if given, slabs are convolved in 8-bit integers
    Constants  type of the constants
    dims       of the network: 3, or 2 for one that denoises each axial slice
    """

    network: UNet
    constants: LocalConstants
    ranges: Ranges | None = field(default=None, kw_only=True)
    domain: ClassVar[Domain] = "local_activity"
    Constants: ClassVar[type[LocalConstants]] = LocalConstants
    dims: ClassVar[Literal[2, 3]] = 3
    accepts_dose: ClassVar[bool] = True
    needs_suv: ClassVar[bool] = False

    @classmethod
    def create(cls, preset: str = "default") -> Self:
        """Return the method with fresh weights."""
        require_preset(cls.name, preset, list(SIZES))
        return cls(fresh_network(preset, cls.dims), cls.Constants())

    @classmethod
    def from_card(cls, card: ModelCard) -> Self:
        """Return the method that a card describes, without its trained weights."""
        constants = part_of_card(cls.Constants, card, "constants")
        return cls(network_of_card(card, cls.dims), constants)

    @property
    def default_steps(self) -> int:
        """Network calls for one denoised volume."""
        return 1 if self.one_call_gives_mean else self.constants.sampling_steps

    @property
    def sampling_steps(self) -> int:
        """Network calls for one sample."""
        return self.constants.sampling_steps if self.can_sample else 1

    def working_voxel_mm(self, voxel_mm: Spacing) -> Spacing:
        """Return the scan's voxel size, limited to the range of training."""
        return self.constants.voxels.nearest(voxel_mm)

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> LocalActivity:
        """Return the scan y [i, j, k] in the local-activity domain."""
        return local_activity(y, dtype, drf, self.constants.domain)

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return a channel [b, 3, i, j, k] for each OutputChannel: expected r first, then trusts.

        x = r + σ·noise [b, 1, i, j, k], sigma [b], fields [b, 5, i, j, k]. If sigma is ∞, x has no
        effect, but must be finite.
        """
        output = self._network_output(*self._network_input(x, sigma, fields))
        return self._gated(output, x, sigma, fields)

    def slab_by_slab(
        self, x: Tensor, sigma: Tensor, fields_of: FieldsOf, planes: int
    ) -> Iterator[Tensor]:
        """Yield what `denoise` returns for a whole volume, in parts of a few planes.

        Slabs are processed in the order of memory: [1, c, k, j, i].
        """
        network = self._slabwise_network(sigma)
        x, length, done = x.transpose(-1, -3), x.shape[-1], 0

        def fields(part: slice) -> Tensor:
            return fields_of(part)[None].transpose(-1, -3)

        for slab in parts_of(slice(0, length), planes):
            channels, _ = self._network_input(x[:, :, slab], sigma, fields(slab))
            output = network(channels, last=slab.stop == length)
            if output is not None:
                ready = slice(done, done + output.shape[2])
                # In parts: the last output has many planes, and its gate needs much memory.
                r = torch.cat(
                    [
                        self._gated(some, x[:, :, part], sigma, fields(part))
                        for part, some in zip(
                            parts_of(ready, planes), torch.split(output, planes, dim=2), strict=True
                        )
                    ],
                    dim=2,
                )
                del channels, output
                yield r.transpose(-1, -3)
                done = ready.stop

    def _network_input(self, x: Tensor, sigma: Tensor, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input channels of the network [b, c, i, j, k], and its times t [b]."""
        lacking = channel(fields, ScanChannel.LACKING_COUNTS)
        dose_known = (lacking > 0).to(fields.dtype)
        level = sigma.view(-1, 1, 1, 1, 1)
        c_in, t = input_scales(level, self.constants.sigma_data)
        others = fields.narrow(1, 0, ScanChannel.LACKING_COUNTS)
        return torch.cat([others, dose_known, (c_in * x).to(fields.dtype)], dim=1), t.flatten()

    def _gated(self, output: Tensor, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return r and the trusts from the network's output; other arguments as in `denoise`."""
        c = self.constants
        noise = noise_ratio(channel(fields, ScanChannel.EXPECTED_NOISE).float(), c.domain)
        lacking = channel(fields, ScanChannel.LACKING_COUNTS).float()
        strength = noise / (noise + c.trusted_noise) * lacking.where(lacking > 0, 1)
        level = sigma.view(-1, 1, 1, 1, 1)
        c_skip, c_out = output_scales(level, c.sigma_data * strength)
        parts = [1, 1, len(OutputChannel) - 1]
        gate, change, trust = torch.split(output.float(), parts, dim=1)
        measured_share = 1 - strength * c.gate_reach * torch.sigmoid(gate)
        measured = measured_share * channel(fields, ScanChannel.RATIO)
        r = c_skip * x + (1 - c_skip) * measured + c_out * change
        return torch.cat([r, trust], dim=1)

    def _network_output(self, channels: Tensor, t: Tensor) -> Tensor:
        """Evaluate the network on [b, c, i, j, k] at times t [b]; a 2-D network slice by slice."""
        if self.network.architecture.dims == 3:
            volume: Tensor = self.network(channels, t)
            return volume
        b, slices = len(channels), channels.shape[-1]
        each = channels.movedim(-1, 1).flatten(0, 1)
        output: Tensor = self.network(each, t.repeat_interleave(slices))
        return output.reshape(b, slices, *output.shape[1:]).movedim(1, -1)

    def _slabwise_network(self, sigma: Tensor) -> SlabwiseNetwork:
        """Return the network at one noise level, for slabs of a volume [1, c, k, j, i]."""
        _, t = input_scales(sigma, self.constants.sigma_data)
        if self.network.architecture.dims == 3:
            return SlabwiseUNet(with_reversed_axes(self.network), t, self.ranges)

        def slices(slab: Tensor, *, last: bool) -> Tensor:
            return self._network_output(slab.transpose(-1, -3), t).transpose(-1, -3)

        return slices

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return the data of the loss from a pair [i, j, k]: the channels of Example in order."""
        condition = self.condition(low, drf=drf)
        s = condition.activity
        return torch.cat([(full / s - 1)[None], condition.fields, (s / s.mean())[None]])

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch; the dose of some examples is unknown."""
        return self.example_loss(some_doses_unknown(split_example(batch), generator), generator)

    @abstractmethod
    def example_loss(self, example: Example, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch of examples, a scalar."""

    def estimate(self, example: Example, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the estimate of r [b, 1, i, j, k] for x, with the scan's regional activity."""
        domain, fields, activity = self.constants.domain, example.fields, example.activity
        scan = (activity * (1 + channel(fields, ScanChannel.RATIO))).clamp(min=0)
        output = torch.split(self.denoise(x, sigma, fields), 1, dim=1)
        noise = channel(fields, ScanChannel.EXPECTED_NOISE)
        return preserve_activity(output, activity, scan, noise, domain)


def input_scales(sigma: Tensor, sigma_data: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return EDM's preconditioning of the input, (c_in, t), for σ in (0, ∞]; of sigma's shape.

    c_in = σd/(σ²+σd²) makes c_in·x the Wiener estimate of r from x alone, over σd; t = σ/(σ+σd) is
    the flow's time. Both are finite at σ = ∞.
    """
    ratio = sigma_data / sigma
    power = ratio.square()
    return power / (1 + power) / sigma_data, 1 / (1 + ratio)


def output_scales(sigma: Tensor, sigma_data: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return EDM's preconditioning of the output, (c_skip, c_out), for σ in (0, ∞].

    c_skip = σd²/(σ²+σd²) and c_out = σ·σd/√(σ²+σd²), of the shape of both arguments. Both are
    finite at σ = ∞.
    """
    power = (sigma_data / sigma).square()
    total = 1 + power
    return power / total, sigma_data / total.sqrt()


def fresh_network(preset: str, dims: int = 3) -> UNet:
    """Return the network of a preset with fresh weights."""
    ends = {"in_channels": IN_CHANNELS, "out_channels": OUT_CHANNELS, "dims": dims}
    return UNet(UNetArchitecture.model_validate(SIZES[preset] | ends))


def network_of_card(card: ModelCard, dims: int) -> UNet:
    """Return the network that a card describes. Raises InputRefused if it is of another domain."""
    architecture = part_of_card(UNetArchitecture, card, "architecture")
    ends = {"in_channels": IN_CHANNELS, "out_channels": OUT_CHANNELS, "dims": dims}
    for end, needed in ends.items():
        if (found := getattr(architecture, end)) != needed:
            raise InputRefused(
                f"model card, architecture of {card.method}: {end}: {found}, where this version of "
                f"petdiff has {needed}; train the model anew"
            )
    return UNet(architecture)
