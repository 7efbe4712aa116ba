"""A trained model: its method and the contract that travels in the header of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from petdiff.diffusion.denoiser import Denoiser
from petdiff.diffusion.samplers import Callback
from petdiff.errors import InputRefused, UsageError
from petdiff.methods.condition import BoundScan
from petdiff.runs import whole_file

Part = TypeVar("Part")
HEADER_KEY = "petdiff"
_WEIGHT_TYPES = ("F16", "BF16", "F32", "F64")  # as safetensors names them
SHIPPED = resources.files("petdiff") / "weights"


class Contract(BaseModel):
    """What a model is made of and promises, as stored in the header of its weights.

    title         for people; empty: the name of its file
    method        a key of `methods()`
    architecture  arguments that rebuild the network
    process       arguments of the diffusion process
    training      what it was trained on, for how long, and with which measured scores
    limits        what the model was not made for, or is known to do badly
    licence       of the weights
    """

    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=200, default="")
    method: str = Field(max_length=64)
    architecture: dict[str, Any]
    process: dict[str, Any] = {}
    training: dict[str, Any] = {}
    limits: str = Field(max_length=10_000, default="")
    licence: str = Field(max_length=200, default="Apache-2.0")


class Method(Protocol):
    """What inference needs of a method, each of which is a file beside this one.

    What training needs of it is Trainable (petdiff.methods.objective).

    multiple       every axis of a tile must be a multiple of this many voxels
    halo           voxels around a tile's core that its answer may depend on; None: the network
                   takes statistics of all it sees, so that it is asked window by window and these
                   are blended (see WindowedMethod)
    axes           where i, j and k run in the patient for the network: three of R/L, A/P, S/I
    precision      auto, or what its network should run in
    default_steps  how often it asks, if not told, 1 where one step answers the posterior mean,
                   whatever the noise; sampling_steps where several samples are drawn, 1 where all
                   would be alike
    can_be_told_dose  whether `bind` looks at the dose
    needs_suv      whether its network was trained on SUV, so that no other unit can be given to it
    """

    network: nn.Module
    multiple: int
    halo: int | None
    axes: str
    precision: str
    default_steps: ClassVar[int]
    sampling_steps: ClassVar[int]
    can_be_told_dose: ClassVar[bool]
    needs_suv: ClassVar[bool]

    def working_voxel_mm(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """The voxel size at which a scan of this voxel size is denoised."""
        ...

    def bind(self, y: Tensor, dtype: torch.dtype, dose: float | None = None) -> BoundScan:
        """The scan y [i, j, k] in SUV, made ready for `denoise`.

        dose  reduction factor, 20 at 1/20 dose; None: not known
        """
        ...

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        """Expected x0 of tiles [b, 1, i, j, k] in the domain, given x = x0 + sigma · noise."""
        ...

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        steps: int,
        generator: torch.Generator,
        callback: Callback | None,
    ) -> Tensor:
        """Run the method's sampler over a whole volume of the domain."""
        ...

    @classmethod
    def create(cls, preset: str) -> Self:
        """With fresh weights, of a size named in the method's PRESETS."""
        ...

    @classmethod
    def from_contract(cls, contract: Contract) -> Self:
        """As a weights file describes it, its weights still to be loaded."""
        ...


@dataclass
class Model:
    """A method with trained weights.

    name    as it was asked for
    sha256  of the weights' file
    """

    method: Any
    contract: Contract
    name: str
    sha256: str

    @property
    def network(self) -> nn.Module:
        network: nn.Module = self.method.network
        return network

    @torch.inference_mode()
    def denoise(self, x: Tensor, sigma: float, y: Tensor) -> Tensor:
        """D(x, σ, y) in the method's domain for whole small volumes x and y [i, j, k], y in SUV.

        Every axis must be a multiple of `method.multiple`.
        """
        bound = self.method.bind(y, torch.float32)
        levels = torch.tensor([sigma], device=y.device)
        answer: Tensor = self.method.denoise(x[None, None], levels, bound.fields[None])
        settled: Tensor = bound.settle(answer[0])
        return settled


def methods() -> dict[str, Any]:
    """The methods there are, by name."""
    from petdiff.methods.ddpm2d import DDPM2D
    from petdiff.methods.ddpm3d import DDPM3D
    from petdiff.methods.flow3d import Flow3D
    from petdiff.methods.gan3d import GAN3D
    from petdiff.methods.logunet import LogUNet
    from petdiff.methods.unet3d import UNet3D

    return {
        "flow3d": Flow3D,
        "ddpm3d": DDPM3D,
        "ddpm2d": DDPM2D,
        "unet3d": UNet3D,
        "gan3d": GAN3D,
        "logunet": LogUNet,
    }


def preset_of(method: str, presets: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The preset of this name; UsageError, naming those there are, where there is none."""
    if name not in presets:
        *others, last = presets
        known = f"{', '.join(others)} or {last}"
        raise UsageError(f"preset {name!r} of {method}: unknown; use {known}")
    return presets[name]


def rebuilt(kind: type[Part], given: dict[str, Any], method: str) -> Part:
    """A part of a contract as `kind`; InputRefused, naming the entry, where it makes no sense."""
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        raise InputRefused(f"contract of {method}: {_first_of(error)}") from error


def _first_of(error: ValidationError) -> str:
    """Return the first entry that pydantic refused and why, on one short line."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where[:80]}: {first['msg'][:200]}" if where else str(first["msg"])[:200]


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(
        f.name.removesuffix(".safetensors")
        for f in SHIPPED.iterdir()
        if f.name.endswith(".safetensors")
    )


def load_model(name_or_file: str | Path) -> Model:
    """Load a shipped model by name, or a .safetensors file; weights are data, nothing is unpickled.

    Raises UsageError where there is no such model, InputRefused where the file is not one.
    """
    path = _find(str(name_or_file))
    contract = read_contract(path)
    try:
        with torch.device("meta"):  # nothing is allocated until the file is known to hold it
            method = methods()[contract.method].from_contract(contract)
        weights = _read_weights(path, method.network.state_dict())
    except InputRefused as error:
        raise InputRefused(f"{path}: {error}") from error
    method.network.load_state_dict(weights, assign=True)
    method.network.eval().requires_grad_(False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(method, contract, str(name_or_file), digest)


def _read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a file's tensors, in float32, if they are those that are expected.

    Names, shapes and types are compared before any tensor is read. Raises InputRefused, naming the
    first tensor that is missing, has another shape or type, is not expected, or is not finite.
    """
    unfit = "weights do not fit their own contract"
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name, tensor in expected.items():
                if name not in names:
                    raise InputRefused(f"{unfit}: tensor {name} is missing")
                part = file.get_slice(name)
                shape, dtype = tuple(part.get_shape()), part.get_dtype()
                if shape != tuple(tensor.shape):
                    raise InputRefused(
                        f"{unfit}: tensor {name} has shape {shape}, not {tuple(tensor.shape)}"
                    )
                if dtype not in _WEIGHT_TYPES:
                    raise InputRefused(
                        f"tensor {name} is of type {dtype}; use {', '.join(_WEIGHT_TYPES)}"
                    )
            if more := names - set(expected):
                raise InputRefused(f"{unfit}: tensor {min(more)} has no place")
            weights = {name: file.get_tensor(name).float() for name in expected}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputRefused(f"cannot be read ({error})") from error
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise InputRefused(f"tensor {name} holds NaN or infinite values")
    return weights


def read_contract(path: Path) -> Contract:
    """The contract in a weights file's header; InputRefused where there is none to be read."""
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER_KEY)
    except (SafetensorError, OSError) as error:
        hint = "; for a published checkpoint run: petdiff convert FILE.pt -o FILE.safetensors"
        raise InputRefused(f"{path}: not a safetensors file ({error}){hint}") from error
    if header is None:
        raise InputRefused(
            f"{path}: safetensors, but not a petdiff model (no contract in its header)"
        )
    try:
        contract = Contract.model_validate_json(header)
    except ValidationError as error:
        raise InputRefused(f"{path}: unreadable contract ({_first_of(error)})") from error
    if contract.method not in methods():
        known = ", ".join(methods())
        raise InputRefused(f"{path}: method {contract.method!r} is not known here; known: {known}")
    return contract


def save_model(path: Path, network: nn.Module, contract: Contract, dtype: torch.dtype) -> None:
    """Write weights and contract to `path`, which appears whole or not at all."""
    weights = {
        key: value.to(dtype, copy=True, memory_format=torch.contiguous_format)  # never shared
        for key, value in network.state_dict().items()
    }
    with whole_file(path, replace=True) as unfinished:
        unfinished.write_bytes(save(weights, metadata={HEADER_KEY: contract.model_dump_json()}))


def _find(name: str) -> Path:
    shipped = Path(str(SHIPPED)) / f"{name}.safetensors"
    if shipped.is_file():
        return shipped
    path = Path(name)
    if path.is_file():
        return path
    names = ", ".join(shipped_models()) or "none"
    raise UsageError(f"`model` {name} is neither a shipped model ({names}) nor a file")
