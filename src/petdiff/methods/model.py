"""Trained models: loading them from safetensors files, and saving them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from petdiff.errors import InputRefused
from petdiff.methods.base import Method
from petdiff.methods.card import ModelCard, card_from_json
from petdiff.methods.registry import METHODS
from petdiff.methods.weights_files import file_sha256, weights_path
from petdiff.runs import whole_file

HEADER_KEY = "petdiff"
_WEIGHT_TYPES = ("F16", "BF16", "F32", "F64")  # as safetensors names them


@dataclass
class Model:
    """A method with trained weights.

    name    the name or the path by which it was loaded
    sha256  of the weights' file
    """

    method: Method
    card: ModelCard
    name: str
    sha256: str

    @property
    def network(self) -> nn.Module:
        """The method's network."""
        return self.method.network

    @property
    def summary(self) -> str:
        """Name, weights and licence, for messages."""
        return f"{self.name} · sha256 {self.sha256[:12]} · licence {self.card.licence}"

    @torch.inference_mode()
    def denoise(self, x: Tensor, sigma: float, y: Tensor) -> Tensor:
        """Return D(x, σ, y) in the method's domain for whole small volumes x and y [i, j, k].

        y is in SUV. Every axis must be a multiple of `method.multiple`.
        """
        condition = self.method.condition(y)
        levels = torch.tensor([sigma], device=y.device)
        output = self.method.denoise(x[None, None], levels, condition.fields[None])
        return condition.preserve_activity(output[0])


def load_model(name_or_file: str | Path) -> Model:
    """Load a shipped model by name, or a .safetensors file. Nothing is unpickled.

    Raises UsageError if there is no such model, InputRefused if the file is not a model.
    """
    path = weights_path(str(name_or_file))
    card = read_card(path)
    try:
        with torch.device("meta"):  # allocates no memory until the tensors of the file are checked
            method = METHODS[card.method].from_card(card)
        weights = _read_weights(path, method.network.state_dict())
    except InputRefused as error:
        raise InputRefused(f"{path}: {error}") from error
    method.network.load_state_dict(weights, assign=True)
    method.network.eval().requires_grad_(False)
    return Model(method, card, str(name_or_file), file_sha256(path))


def read_card(path: Path) -> ModelCard:
    """Return the card in a weights file's header. Raises InputRefused if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER_KEY)
    except (SafetensorError, OSError) as error:
        hint = "; for a published checkpoint run: petdiff convert FILE.pt -o FILE.safetensors"
        raise InputRefused(f"{path}: not a safetensors file ({error}){hint}") from error
    if header is None:
        raise InputRefused(f"{path}: safetensors, but not a petdiff model (no card in its header)")
    try:
        card = card_from_json(header)
    except InputRefused as error:
        raise InputRefused(f"{path}: {error}") from error
    if card.method not in METHODS:
        known = ", ".join(METHODS)
        raise InputRefused(f"{path}: method {card.method!r} is not known here; known: {known}")
    return card


def save_model(path: Path, network: nn.Module, card: ModelCard, dtype: torch.dtype) -> None:
    """Write weights and card to `path`. The file appears complete or not at all."""
    weights = {
        key: value.to(dtype, copy=True, memory_format=torch.contiguous_format)  # never shared
        for key, value in network.state_dict().items()
    }
    with whole_file(path, replace=True) as unfinished:
        unfinished.write_bytes(save(weights, metadata={HEADER_KEY: card.model_dump_json()}))


def _read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file, in float32, if names and shapes are those of `expected`.

    Names, shapes and types are compared before any tensor is read. Raises InputRefused and names
    the first tensor that is missing, has another shape or type, is not expected, or is not finite.
    """
    unfit = "weights do not fit their own card"
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
