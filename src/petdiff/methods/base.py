"""The base class of all methods: what inference and training call, and how a method is created.

A method is a class of this folder and one line of `registry.py`. Arrays are [i, j, k] of a volume,
[c, i, j, k] with channels, [b, c, i, j, k] with a batch.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.noise import NoiseSource
from petdiff.errors import UsageError
from petdiff.methods.card import Domain, ModelCard
from petdiff.methods.patches import PATCH
from petdiff.volume.planes import cat_planes
from petdiff.volume.regions import Spacing

Voxels3D = tuple[int, int, int]
FieldsOf = Callable[[slice], Tensor]
M = TypeVar("M", bound="Method")


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
        return cat_planes(list(self.preserve_activity_of_parts([output])))

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


class Method(ABC):
    """A network with its domain, loss and sampler. A subclass states what differs from the usual.

    name                  a key of the registry
    network               the network that is saved, with its weights averaged over the steps
    constants             all numbers that affect the output beside the network's weights
    patch                 voxels of a training patch along i, j, k
    one_call_gives_mean   one network call gives the posterior mean, independent of the noise
    can_sample            different noise gives different samples
    accepts_dose          `condition` uses the dose reduction factor
    needs_suv             the network was trained on SUV, so that it takes no other unit
    """

    name: ClassVar[str]
    domain: ClassVar[Domain]
    network: nn.Module
    constants: BaseModel
    patch: ClassVar[Voxels3D] = PATCH
    one_call_gives_mean: ClassVar[bool] = True
    can_sample: ClassVar[bool] = False
    accepts_dose: ClassVar[bool] = False
    needs_suv: ClassVar[bool] = True

    @property
    def multiple(self) -> int:
        """The number of voxels that every axis of a volume or window is a multiple of."""
        found = self.network.multiple
        assert isinstance(found, int)
        return found

    @property
    def axes(self) -> str:
        """Directions of i, j, k in the patient: R or L, A or P, S or I."""
        return "RAS"

    @property
    def precision(self) -> str:
        """Precision of the network's arithmetic: auto, float32 or bfloat16."""
        return "auto"

    @property
    def default_samples(self) -> int:
        """Samples that give the denoised image, unless their number is given."""
        return 1

    @property
    def default_steps(self) -> int:
        """Network calls for one denoised volume."""
        return 1

    @property
    def sampling_steps(self) -> int:
        """Network calls for each sample, if several are drawn."""
        return 1

    @property
    def max_steps(self) -> int | None:
        """The largest possible number of network calls of a sample; None: there is no limit."""
        return None

    @property
    def trained(self) -> nn.Module:
        """All modules that training changes: the network, and the discriminator if there is one."""
        return self.network

    @property
    def architecture(self) -> BaseModel:
        """The architecture of the network."""
        found = self.network.architecture
        assert isinstance(found, BaseModel)
        return found

    @abstractmethod
    def working_voxel_mm(self, voxel_mm: Spacing) -> Spacing:
        """Return the voxel size at which a scan of this voxel size is denoised."""

    @abstractmethod
    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> Condition:
        """Return the condition for a scan y [i, j, k], with fields in `dtype`.

        drf  dose reduction factor, 20 at 1/20 of the full dose; None: not known
        """

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Return [b, c, i, j, k] for x = x0 + sigma · noise: the expected x0 is channel 0.

        x [b, 1, i, j, k], sigma [b], fields [b, c, i, j, k]
        """

    @abstractmethod
    def sample(self, denoiser: Denoiser, noise: Tensor, steps: int, source: NoiseSource) -> Tensor:
        """Run the method's sampler over a whole volume of the domain, from unit noise.

        source  draws the noise of later steps
        """

    @abstractmethod
    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        """Return the data that the losses need from a pair of scans [i, j, k], as [c, i, j, k].

        It is computed from whole volumes, before patches are cut. drf as in `condition`.
        """

    @abstractmethod
    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch [b, c, i, j, k] of the method's examples, a scalar."""

    def objectives(self) -> list[Objective]:
        """Return the losses; usually there is one."""
        return [Objective(self.name, list(self.network.parameters()), self.loss)]

    def card(self, training: Mapping[str, object], *, licence: str = "Apache-2.0") -> ModelCard:
        """Return the card that goes with the weights. `training` must be JSON-serialisable."""
        return ModelCard.model_validate(
            {
                "method": self.name,
                "domain": self.domain,
                "architecture": self.architecture.model_dump(mode="json"),
                "constants": self.constants.model_dump(mode="json"),
                "training": dict(training),
                "licence": licence,
            }
        )


class SlabMethod(Method):
    """A method whose network has no statistics over space: slabs give the result of the whole."""

    @abstractmethod
    def slab_by_slab(
        self, x: Tensor, sigma: Tensor, fields_of: FieldsOf, planes: int
    ) -> Iterator[Tensor]:
        """Yield what `denoise` returns for a whole volume, in parts of a few planes along k.

        x, sigma   as in `denoise`, b = 1
        fields_of  range of planes → fields of the scan there, as `Condition.fields_of`
        planes     largest number of planes in a slab, a multiple of `multiple`
        """


class WindowedMethod(Method):
    """A method whose network has statistics over its whole input: windows overlap and are blended.

    window   voxels along i, j, k of one input of the network; None: the whole axis
    overlap  voxels along i, j, k over which neighbours are blended
    """

    @property
    @abstractmethod
    def window(self) -> tuple[int | None, int | None, int]: ...
    @property
    @abstractmethod
    def overlap(self) -> Voxels3D: ...

    @abstractmethod
    def predict(self, x_t: Tensor, timestep: Tensor, fields: Tensor) -> Tensor:
        """Return the network's raw output [b, c, i, j, k] for single windows."""

    @abstractmethod
    def adapter(self, network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
        """Return the denoiser of a function (x_t, timestep) → raw output for any volume."""


class MethodFactory(Protocol):
    """Creates methods of one name; a class of a method is one."""

    def create(self, preset: str) -> Method:
        """Return the method with fresh weights. Raises UsageError for an unknown preset."""
        ...

    def from_card(self, card: ModelCard) -> Method:
        """Return the method that a card describes, without its trained weights.

        Raises InputRefused, naming the entry, if the card is invalid.
        """
        ...


def require_preset(method: str, name: str, presets: Sequence[str]) -> None:
    """Raise UsageError, naming the available presets, if `name` is none of them."""
    if name not in presets:
        *others, last = presets
        raise UsageError(f"preset {name!r} of {method}: unknown; use {', '.join(others)} or {last}")


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


def with_network(method: M, network: nn.Module) -> M:
    """Return a copy of the method with another network, of the same architecture."""
    changed = copy.copy(method)
    changed.network = network
    return changed
