"""The seams of a method: what inference asks of it, what training asks of it, how it is made.

A method is one file of this folder and one line of `registry.py`. Arrays are [i, j, k] of a volume,
[c, i, j, k] with channels, [b, c, i, j, k] with a batch.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.samplers import Callback
from petdiff.errors import UsageError
from petdiff.methods.card import ModelCard
from petdiff.volume.planes import joined

Millimetres = tuple[float, float, float]
Voxels3D = tuple[int, int, int]
M = TypeVar("M")


class Condition(ABC):
    """A measured scan as a method sees it: the condition under which it denoises.

    fields  what the network sees of the scan [c, i, j, k]
    """

    fields: Tensor

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Return a volume of the method's domain [i, j, k] in the scan's unit."""

    def fields_of(self, planes: slice) -> Tensor:
        """Return the fields of a range of planes along k [c, i, j, n]."""
        return self.fields[..., planes]

    def keep_activity_of(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield x0 [i, j, n] of the consecutive parts [c, i, j, n] of a network's answer.

        Parts need not be those that came. What must hold for the scan as a whole is imposed here,
        such as its regional activity.
        """
        return (part[0] for part in parts)

    def keep_activity(self, answer: Tensor) -> Tensor:
        """Return x0 [i, j, k] of a network's answer [c, i, j, k] for the whole scan."""
        return joined(list(self.keep_activity_of([answer])))

    def standard_deviation(self, of_samples: Tensor) -> Tensor:
        """Return the standard deviation [i, j, k] of the full-dose scan about the answer.

        of_samples  that of the samples, in the scan's unit. The two differ by what all samples
                    share with the scan, its noise included.
        """
        return of_samples

    def regional_error(self, white: Tensor) -> Tensor | None:
        """Return an error [i, j, k] that all samples share, drawn anew, in the scan's unit.

        white  unit noise [i, j, k] to draw it from

        Samples keep what they take from the measured scan, noise included; a region's mean then
        differs between samples too little. None where they keep nothing.
        """
        return None


class Method(Protocol):
    """What inference asks of a method.

    name                  a key of the registry
    network               its network
    multiple              every axis of a volume or window is a multiple of this many voxels
    axes                  where i, j, k run in the patient for the network: R or L, A or P, S or I
    precision             auto, float32 or bfloat16: what its network should run in
    default_steps         network calls of one answer
    sampling_steps        network calls of a sample, where several are drawn
    answers_in_one_call   one call, whatever the noise, gives the posterior mean
    can_sample            different noise gives different samples
    accepts_dose          `condition` uses the dose reduction factor
    exact_slabs           a volume may pass slab by slab without a trace (SlabMethod); otherwise
                          windows are blended (WindowedMethod)
    needs_suv             the network was trained on SUV, so that it takes no other unit
    """

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def multiple(self) -> int: ...
    @property
    def axes(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def default_steps(self) -> int: ...
    @property
    def sampling_steps(self) -> int: ...
    @property
    def answers_in_one_call(self) -> bool: ...
    @property
    def can_sample(self) -> bool: ...
    @property
    def accepts_dose(self) -> bool: ...
    @property
    def exact_slabs(self) -> bool: ...
    @property
    def needs_suv(self) -> bool: ...

    def working_voxel_mm(self, voxel_mm: Millimetres) -> Millimetres:
        """Return the voxel size at which a scan of this voxel size is denoised."""
        ...

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> Condition:
        """Return the condition that a scan y [i, j, k] is, its fields in `dtype`.

        drf  dose reduction factor, 20 at 1/20 of the full dose; None: not known
        """
        ...

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return the network's answer [b, c, i, j, k] for x = x0 + sigma · noise; x0 comes first.

        x [b, 1, i, j, k], sigma [b], fields [b, c, i, j, k]
        """
        ...

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """Run the method's sampler over a whole volume of the domain, from unit noise."""
        ...

    def card(
        self, training: Mapping[str, object], *, limits: str = "", licence: str = "Apache-2.0"
    ) -> ModelCard:
        """Return the card that goes with the weights."""
        ...


class SlabMethod(Method, Protocol):
    """A method whose network takes no statistics over space, so that slabs leave no trace."""

    def slab_by_slab(
        self, x: Tensor, sigma: Tensor, condition: Condition, planes: int
    ) -> Iterator[Tensor]:
        """Yield what `denoise` returns for a whole volume, a few planes along k after the others.

        x, sigma   as in `denoise`, b = 1
        condition  of the whole scan
        planes     that a slab has at most, a multiple of `multiple`
        """
        ...


class WindowedMethod(Method, Protocol):
    """A method whose network takes statistics of all it sees: overlapping windows are blended.

    window   voxels along i, j, k that the network sees at once; None: the whole axis
    overlap  voxels along i, j, k over which neighbours are blended
    """

    @property
    def window(self) -> tuple[int | None, int | None, int]: ...
    @property
    def overlap(self) -> Voxels3D: ...

    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """Return the network's raw answer [b, c, i, j, k] for single windows."""
        ...

    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
        """Return `network`, (x_t, timestep) → answer for any volume, as a denoiser."""
        ...


@dataclass(frozen=True)
class Objective:
    """One loss and the parameters that lower it.

    name        for the log
    parameters  of the network that this loss trains, and no other's
    loss        (batch [b, c, i, j, k] of a method's examples, generator of noise) → scalar
    """

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Tensor, torch.Generator], Tensor]


class Trainable(Protocol):
    """What training asks of a method.

    network  what is kept in the end, in an average over the steps
    trained  everything that training changes: the network, and a discriminator beside it
    patch    voxels of a training patch along i, j, k
    """

    @property
    def network(self) -> nn.Module: ...
    @property
    def trained(self) -> nn.Module: ...
    @property
    def patch(self) -> Voxels3D: ...

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return what the losses need of a pair of scans [i, j, k], as [c, i, j, k].

        It is made of whole volumes, before patches are cut. drf as in Method.condition.
        """
        ...

    def objectives(self) -> list[Objective]:
        """Return the losses."""
        ...


class TrainableMethod(Method, Trainable, Protocol):
    """A method that can be trained and then used."""


@dataclass(frozen=True)
class MethodKind:
    """How methods of one name are made.

    presets    names of the sizes there are
    create     preset → method with fresh weights
    from_card  card of a weights file → method whose weights are still to be loaded; InputRefused,
               naming the entry, where the card makes no sense
    """

    presets: Sequence[str]
    create: Callable[[str], TrainableMethod]
    from_card: Callable[[ModelCard], TrainableMethod]


def require_preset(method: str, name: str, presets: Sequence[str]) -> None:
    """Raise UsageError, naming the presets there are, if `name` is none of them."""
    if name not in presets:
        *others, last = presets
        raise UsageError(f"preset {name!r} of {method}: unknown; use {', '.join(others)} or {last}")


def has_exact_slabs(method: Method) -> TypeGuard[SlabMethod]:
    """Return whether slabs of the method are exact; otherwise it is a WindowedMethod."""
    return method.exact_slabs


def image_steps(method: Method, samples: int, steps: int | None) -> int:
    """Return how many network calls in sequence the denoised image is the answer of.

    samples  how many are drawn; with several, the image is that of one call if one call of the
             method gives the posterior mean, else the mean of the samples
    steps    network calls of a sample; None: the method's own number
    """
    if samples > 1 and method.answers_in_one_call:
        return 1
    return steps or (method.sampling_steps if samples > 1 else method.default_steps)


def is_windowed(method: Method) -> TypeGuard[WindowedMethod]:
    """Return whether the method is asked in blended windows."""
    return not method.exact_slabs


def with_network(method: M, network: nn.Module) -> M:
    """Return a copy of the method with another network, of the same architecture."""
    twin = copy.copy(method)
    replace_network(twin, network)
    return twin


def replace_network(method: object, network: nn.Module) -> None:
    """Give the method another network, of the same architecture."""
    vars(method)["network"] = network
