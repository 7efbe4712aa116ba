"""The U-Net of the published 3-D DDPM, with its layer names, so that its checkpoints load.

Residual U-Net of Dhariwal & Nichol 2021 (arXiv 2105.05233, section 3) with 3-D convolutions, no
attention, scale-shift GroupNorm, and residual blocks that change the resolution. It differs from
the usual layout in two ways. The resolution changes on the two inner axes only: the first spatial
axis, the axial one, keeps its full length. The decoder narrows one level early (see Architecture).
The 2-D network is the 3-D one without the axial axis.

Shapes: b batch, c channel, then [axial, inner, inner], or in 2-D [inner, inner].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

Resampling = Literal["none", "down", "up"]
Multiplier = Annotated[int, Field(ge=1, le=32)]
_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class Architecture(BaseModel, frozen=True, extra="forbid"):
    """The architecture of a PublishedUNet; the defaults are the published network's.

    It can be read from the shapes of the tensors, except `groups`, which is 32 in published
    weights. Its bounds limit the memory that a file can request.

    multipliers          width of each encoder level, in units of `channels`
    decoder_multipliers  width of each block of the decoder, coarsest level first. From the second
                         block of a level on, the published network has the width of the next finer
                         level; the usual layout keeps the level's own
    in_channels          the noisy volume and the measured one
    out_channels         ε, and the variance if it is learned
    groups               of channels in each GroupNorm
    dims                 3, or 2 for slices
    """

    channels: int = Field(ge=2, le=1024, default=128)
    multipliers: tuple[Multiplier, ...] = Field(min_length=1, max_length=8, default=(1, 1, 2, 3, 4))
    decoder_multipliers: tuple[Multiplier, ...] = Field(
        max_length=8 * 9, default=(4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1)
    )
    residual_blocks: int = Field(ge=1, le=8, default=2)
    in_channels: int = Field(ge=1, le=16, default=2)
    out_channels: int = Field(ge=1, le=16, default=2)
    groups: int = Field(ge=1, le=1024, default=32)
    dims: Literal[2, 3] = 3

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        blocks = len(self.multipliers) * (self.residual_blocks + 1)
        if len(self.decoder_multipliers) != blocks:
            raise ValueError(
                f"{len(self.decoder_multipliers)} decoder_multipliers for {blocks} decoder blocks"
            )
        if self.channels % self.groups:
            raise ValueError(f"{self.channels} channels are not a multiple of {self.groups} groups")
        return self

    @classmethod
    def scaled(
        cls,
        channels: int,
        multipliers: tuple[int, ...] = (1, 1, 2, 3, 4),
        residual_blocks: int = 2,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        dims: Literal[2, 3] = 3,
    ) -> Architecture:
        """Return the published layout at another size, with the same channels per group."""
        decoder: list[int] = []
        for width, finer in zip(
            multipliers[::-1], (*multipliers[-2::-1], multipliers[0]), strict=True
        ):
            decoder += [width] + [finer] * residual_blocks
        published = cls()
        per_group = published.channels // published.groups
        return cls(
            channels=channels,
            multipliers=multipliers,
            decoder_multipliers=tuple(decoder),
            residual_blocks=residual_blocks,
            groups=channels // per_group,
            in_channels=in_channels,
            out_channels=out_channels,
            dims=dims,
        )

    @property
    def learned_variance(self) -> bool:
        return self.out_channels == self.in_channels


class PublishedUNet(nn.Module):
    """Predicts ε, and the variance if it is learned, from a noisy volume and the measured one.

    forward(x, timestep): x [b, in_channels, axial, inner, inner] holds the noisy volume first, then
    the measured one; timestep [b], from 0 to 999. Returns [b, out_channels, axial, inner, inner].
    The axial length is free; the inner ones must be multiples of `multiple`. In
    2-D there is no axial axis. The network returns 0 before training, because its last layer starts
    at zero.
    """

    # With channels last, the backward pass of GroupNorm takes 9 times as long and a training step
    # 1.5 times as long (torch 2.13, bfloat16).
    channels_last_on_cpu = False

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.time_embed = nn.Sequential(
            nn.Linear(a.channels, 4 * a.channels),
            nn.SiLU(),
            nn.Linear(4 * a.channels, 4 * a.channels),
        )

        def block(c_in: int, c_out: int, resampling: Resampling = "none") -> ResBlock:
            return ResBlock(a, c_in, c_out, resampling)

        widths = [a.channels * multiplier for multiplier in a.multipliers]
        c = widths[0]
        self.input_blocks = nn.ModuleList([Stage(_conv(a.dims, a.in_channels, c))])
        skips = [c]
        for level, width in enumerate(widths):
            if level > 0:
                self.input_blocks.append(Stage(block(c, c, "down")))
                skips.append(c)
            for _ in range(a.residual_blocks):
                self.input_blocks.append(Stage(block(c, width)))
                c = width
                skips.append(c)

        self.middle_block = Stage(block(c, c), block(c, c))

        self.output_blocks = nn.ModuleList()
        for i, multiplier in enumerate(a.decoder_multipliers, start=1):
            blocks = [block(c + skips.pop(), a.channels * multiplier)]
            c = a.channels * multiplier
            if i % (a.residual_blocks + 1) == 0 and skips:
                blocks.append(block(c, c, "up"))
            self.output_blocks.append(Stage(*blocks))

        self.out = nn.Sequential(
            nn.GroupNorm(a.groups, c), nn.SiLU(), _zeroed(_conv(a.dims, c, a.out_channels))
        )

    @property
    def multiple(self) -> int:
        """Return the number that the lengths of the two inner axes must be multiples of."""
        return 1 << (len(self.architecture.multipliers) - 1)

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            inner = tuple(x.shape[-2:])
            raise ValueError(f"inner axes {inner} must be multiples of {self.multiple}")
        angles = timestep_embedding(timestep, self.architecture.channels)
        embedding = self.time_embed(angles.to(x.dtype))
        skips = []
        for stage in self.input_blocks:
            x = stage(x, embedding)
            skips.append(x)
        x = self.middle_block(x, embedding)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, skips.pop()], dim=1), embedding)
        return self.out(x)  # type: ignore[no-any-return]


class Stage(nn.Sequential):
    """Layers in sequence; those that take the time embedding receive it."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class ResBlock(nn.Module):
    """Two convolutions of width 3; the time embedding scales and shifts the second GroupNorm."""

    def __init__(self, a: Architecture, c_in: int, c_out: int, resampling: Resampling) -> None:
        super().__init__()
        self.resampling = resampling
        self.in_layers = nn.Sequential(
            nn.GroupNorm(a.groups, c_in), nn.SiLU(), _conv(a.dims, c_in, c_out)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * a.channels, 2 * c_out))
        # Index 2 is dropout in the published layout; it has no weights and was trained with rate 0.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(a.groups, c_out),
            nn.SiLU(),
            nn.Identity(),
            _zeroed(_conv(a.dims, c_out, c_out)),
        )
        self.skip_connection = nn.Identity() if c_in == c_out else _conv(a.dims, c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, activation, conv = self.in_layers
        h = conv(_resample(activation(norm(x)), self.resampling))
        x = _resample(x, self.resampling)
        film = self.emb_layers(embedding)
        scale, shift = film.view(*film.shape, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        norm, *rest = self.out_layers
        h = norm(h) * (1 + scale) + shift
        for layer in rest:
            h = layer(h)
        return self.skip_connection(x) + h  # type: ignore[no-any-return]


def _conv(dims: int, c_in: int, c_out: int, width: int = 3) -> nn.Module:
    return _CONVOLUTIONS[dims](c_in, c_out, width, padding=width // 2)


def _zeroed(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _resample(x: Tensor, resampling: Resampling) -> Tensor:
    if resampling == "none":
        return x
    if x.ndim == 5:  # the axial axis keeps its length: treat slices as a batch
        slices = x.movedim(2, 1)
        resampled = _resample(slices.flatten(0, 1), resampling)
        return resampled.reshape(*slices.shape[:2], *resampled.shape[1:]).movedim(1, 2)
    if resampling == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def timestep_embedding(timestep: Tensor, width: int) -> Tensor:
    """Return cosines, then sines, of timestep [b] at frequencies from 1 to 1/10000: [b, width]."""
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    angle = timestep[:, None].float() * torch.exp(-math.log(10000) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def read_architecture(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """Return the architecture that tensors of these names and shapes belong to.

    Raises ValueError, naming the first tensor that does not fit, if they belong to another network.
    """
    channels, in_channels = _conv_shape("input_blocks.0.0.weight", shapes)[:2]
    out_channels = _conv_shape("out.2.weight", shapes)[0]
    if in_channels % 2 or out_channels not in (in_channels // 2, in_channels):
        raise ValueError(
            f"tensor out.2.weight gives {out_channels} channels for {in_channels} inputs: "
            "expected ε, or ε and its variance, from a noisy and a measured volume"
        )
    decoder = _decoder_widths(shapes)
    # A level ends where a second, upsampling block follows the first.
    ends = [i for i in range(len(decoder)) if f"output_blocks.{i}.1.in_layers.0.weight" in shapes]
    per_level = 1 + ends[0] if ends else len(decoder)
    if per_level < 2 or len(decoder) % per_level:
        raise ValueError(
            f"tensors output_blocks.*: {len(decoder)} blocks cannot be divided "
            f"into levels of {per_level}"
        )
    encoder = [
        _conv_shape(f"input_blocks.{i}.0.in_layers.2.weight", shapes)[0]
        for i in range(1, len(decoder), per_level)
    ]
    groups = Architecture().groups
    if channels < 1 or channels % groups or any(width % channels for width in encoder + decoder):
        raise ValueError(
            f"tensors input_blocks.*, output_blocks.*: widths {encoder}, {decoder} must be "
            f"multiples of the first, {channels}, and that of the {groups} groups of GroupNorm"
        )
    architecture = _bounded(
        channels=channels,
        multipliers=tuple(width // channels for width in encoder),
        decoder_multipliers=tuple(width // channels for width in decoder),
        residual_blocks=per_level - 1,
        in_channels=in_channels,
        out_channels=out_channels,
    )
    _refuse_misfit(architecture, shapes)
    return architecture


def _bounded(**parts: int | tuple[int, ...]) -> Architecture:
    """Return Architecture(**parts); raise a one-line ValueError if a part is out of bounds."""
    try:
        return Architecture.model_validate(parts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def _decoder_widths(shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    widths = [_conv_shape("output_blocks.0.0.in_layers.2.weight", shapes)[0]]
    while (name := f"output_blocks.{len(widths)}.0.in_layers.2.weight") in shapes:
        widths.append(_conv_shape(name, shapes)[0])
    return widths


def _refuse_misfit(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        expected = PublishedUNet(architecture).state_dict()
    for name, tensor in expected.items():
        found, needed = _shape_of(name, shapes), tuple(tensor.shape)
        if found != needed:
            raise ValueError(f"tensor {name} has shape {found}, this layout needs {needed}")
    for name in shapes:
        if name not in expected:
            raise ValueError(f"tensor {name} does not belong to this layout")


def _conv_shape(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    shape = _shape_of(name, shapes)
    if len(shape) != 5:
        raise ValueError(f"tensor {name} has shape {shape}, not that of a 3-D convolution")
    return shape


def _shape_of(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    if name not in shapes:
        raise ValueError(f"tensor {name} is missing")
    return tuple(shapes[name])
