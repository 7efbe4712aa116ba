"""The interfaces of a method: what inference and training call, and how a method is created.

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
FieldsOf = Callable[[slice], Tensor]
M = TypeVar("M")


class Condition(ABC):
    """A measured scan prepared for a method: the condition of the conditional denoiser.

    fields  the network's input channels that are computed from the scan [c, i, j, k]
    """

    fields: Tensor

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Return a volume of the method's domain [i, j, k] in the scan's unit."""

    def fields_of(self, planes: slice) -> Tensor:
        """Return the fields of a range of planes along k [c, i, j, n]."""
        return self.fields[..., planes]

    def preserve_activity_of_parts(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield x0 [i, j, n] from consecutive parts [c, i, j, n] of a denoiser's output.

        The parts that are yielded may be of other thickness than those of the input. A method
        imposes here what must hold for the whole scan, such as its regional activity.
        """
        return (part[0] for part in parts)

    def preserve_activity(self, output: Tensor) -> Tensor:
        """Return x0 [i, j, k] from a denoiser's output [c, i, j, k] for the whole scan."""
        return joined(list(self.preserve_activity_of_parts([output])))

    def standard_deviation(self, of_samples: Tensor) -> Tensor:
        """Return the standard deviation [i, j, k] of the full-dose scan about the denoised one.

        of_samples  standard deviation of the samples, in the scan's unit. It is too small where all
                    samples have a part of the measured scan, with its noise, in common.
        """
        return of_samples

    def regional_error(self, white: Tensor) -> Tensor | None:
        """Return a random error [i, j, k] to add to one sample, in the scan's unit.

        white  unit noise [i, j, k] from which the error is drawn

        All samples of a method may have the measured scan's regional activity, with its noise. The
        mean of a region then varies too little between samples, and this error is what it lacks.
        Returns None for a method whose samples take nothing from the measured scan.
        """
        return None


class Method(Protocol):
    """The interface of a method for inference.

    name                  a key of the registry
    network               the network of the method
    multiple              every axis of a volume or window is a multiple of this many voxels
    axes                  directions of i, j, k in the patient: R or L, A or P, S or I
    precision             auto, float32 or bfloat16, for the arithmetic of the network
    default_samples       samples that give the denoised image, unless their number is given
    default_steps         network calls for one denoised volume
    sampling_steps        network calls for each sample, if several are drawn
    one_call_gives_mean   one network call gives the posterior mean, independent of the noise
    can_sample            different noise gives different samples
    accepts_dose          `condition` uses the dose reduction factor
    exact_slabs           processing slab by slab gives the result of the whole volume (SlabMethod);
                          otherwise overlapping windows are blended (WindowedMethod)
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
    def default_samples(self) -> int: ...
    @property
    def default_steps(self) -> int: ...
    @property
    def sampling_steps(self) -> int: ...
    @property
    def one_call_gives_mean(self) -> bool: ...
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
        """Return the condition for a scan y [i, j, k], with fields in `dtype`.

        drf  dose reduction factor, 20 at 1/20 of the full dose; None: not known
        """
        ...

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return [b, c, i, j, k] for x = x0 + sigma · noise: the expected x0 is channel 0.

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

    def card(self, training: Mapping[str, object], *, licence: str = "Apache-2.0") -> ModelCard:
        """Return the card that goes with the weights."""
        ...


class SlabMethod(Method, Protocol):
    """A method whose network has no statistics over space: slabs give the result of the whole."""

    def slab_by_slab(
        self, x: Tensor, sigma: Tensor, fields_of: FieldsOf, planes: int
    ) -> Iterator[Tensor]:
        """Yield what `denoise` returns for a whole volume, in parts of a few planes along k.

        x, sigma   as in `denoise`, b = 1
        fields_of  range of planes → fields of the scan there, as `Condition.fields_of`
        planes     largest number of planes in a slab, a multiple of `multiple`
        """
        ...


class WindowedMethod(Method, Protocol):
    """A method whose network has statistics over its whole input: windows overlap and are blended.

    window   voxels along i, j, k of one input of the network; None: the whole axis
    overlap  voxels along i, j, k over which neighbours are blended
    """

    @property
    def window(self) -> tuple[int | None, int | None, int]: ...
    @property
    def overlap(self) -> Voxels3D: ...

    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """Return the network's raw output [b, c, i, j, k] for single windows."""
        ...

    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
        """Return the denoiser of a function (x_t, timestep) → raw output for any volume."""
        ...


@dataclass(frozen=True)
class Objective:
    """One loss and the parameters that minimise it.

    name        for the log
    parameters  trained by this loss alone
    loss        (batch [b, c, i, j, k] of a method's examples, generator of noise) → scalar
    """

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Tensor, torch.Generator], Tensor]


class Trainable(Protocol):
    """The interface of a method for training.

    network  the network that is saved, with its weights averaged over the steps
    trained  all modules that training changes: the network, and the discriminator if there is one
    patch    voxels of a training patch along i, j, k
    """

    @property
    def network(self) -> nn.Module: ...
    @property
    def trained(self) -> nn.Module: ...
    @property
    def patch(self) -> Voxels3D: ...

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return the data that the losses need from a pair of scans [i, j, k], as [c, i, j, k].

        It is computed from whole volumes, before patches are cut. drf as in Method.condition.
        """
        ...

    def objectives(self) -> list[Objective]:
        """Return the losses."""
        ...


class TrainableMethod(Method, Trainable, Protocol):
    """A method that can be trained and then used."""


@dataclass(frozen=True)
class MethodKind:
    """Creates methods of one name.

    create     preset → method with fresh weights. Raises UsageError for an unknown preset
    from_card  card of a weights file → method without its trained weights. Raises InputRefused,
               naming the entry, if the card is invalid
    """

    create: Callable[[str], TrainableMethod]
    from_card: Callable[[ModelCard], TrainableMethod]


def require_preset(method: str, name: str, presets: Sequence[str]) -> None:
    """Raise UsageError, naming the available presets, if `name` is none of them."""
    if name not in presets:
        *others, last = presets
        raise UsageError(f"preset {name!r} of {method}: unknown; use {', '.join(others)} or {last}")


def has_exact_slabs(method: Method) -> TypeGuard[SlabMethod]:
    """Return whether the method is a SlabMethod; otherwise it is a WindowedMethod."""
    return method.exact_slabs


def image_samples(method: Method, samples: int | None, steps: int | None) -> int:
    """Return the number of samples that are drawn.

    samples  None: the method's own number, but only one of a single step, because all samples of a
             single step are the same
    steps    network calls of a sample; None: the method's own number
    """
    return samples or (1 if steps == 1 else method.default_samples)


def sample_steps(method: Method, samples: int) -> int:
    """Return the method's own number of network calls of a sample."""
    return method.sampling_steps if samples > 1 else method.default_steps


def image_steps(method: Method, samples: int | None, steps: int | None) -> int:
    """Return the number of successive network calls that give the denoised image.

    samples  number of samples; None: the method's own number. With several, the image is the
             posterior mean from one call if the method can give it in one call, else the mean of
             the samples
    steps    network calls of a sample; None: the method's own number
    """
    drawn = image_samples(method, samples, steps)
    if drawn > 1 and method.one_call_gives_mean:
        return 1
    return steps or sample_steps(method, drawn)


def is_windowed(method: Method) -> TypeGuard[WindowedMethod]:
    """Return whether the method needs blended windows."""
    return not method.exact_slabs


def with_network(method: M, network: nn.Module) -> M:
    """Return a copy of the method with another network, of the same architecture."""
    changed = copy.copy(method)
    replace_network(changed, network)
    return changed


def replace_network(method: object, network: nn.Module) -> None:
    """Give the method another network, of the same architecture."""
    vars(method)["network"] = network
