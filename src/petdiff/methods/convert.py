"""Convert a published guided-diffusion checkpoint (.pt) to a model file with a card.

A .pt file is a pickle, which may run code when it is read. It is read with `weights_only=True`,
which allows tensors and plain containers only.
"""

from __future__ import annotations

import errno
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from petdiff.errors import InputRefused, UsageError
from petdiff.methods.model import save_model
from petdiff.methods.published_ddpm import Process, PublishedDDPM
from petdiff.networks.published import PublishedUNet, read_architecture

PUBLISHED_LICENCE = "CC BY-NC-SA 4.0"
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ANCHOR = "input_blocks.0.0.weight"  # its prefix is the prefix of all names


def convert(pt_path: str | Path, out_path: str | Path) -> dict[str, JsonValue]:
    """Write the checkpoint's weights and card to `out_path`, and return a description of both.

    If the file has averaged weights (EMA) and others, the averaged ones are used. Raises UsageError
    if there is no such file, InputRefused if it has no weights of the published layout.
    """
    path = Path(pt_path)
    found, weights = _weights_in(_load(path), path)
    try:
        architecture = read_architecture({name: tuple(w.shape) for name, w in weights.items()})
    except ValueError as error:
        raise InputRefused(f"{path}: not the published 3-D DDPM's layout: {error}") from error
    with torch.device("meta"):
        network = PublishedUNet(architecture)
    network.load_state_dict(weights, assign=True)
    origin = f"{path.name}{f', {found}' if found else ''}"
    made = PublishedDDPM(network, Process()).card({"origin": origin}, licence=PUBLISHED_LICENCE)
    save_model(Path(out_path), network, made, torch.float32)
    return {
        "found_under": found,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "learned_variance": architecture.learned_variance,
        **made.model_dump(),
    }


def _load(path: Path) -> object:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    _refuse_compressed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # errors are reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputRefused(
            f"{path}: holds pickled objects beside weights, or is no checkpoint; none of it was "
            "run. Save the network's state_dict() alone"
        ) from error
    except Exception as error:  # a damaged file can raise anything, EINVAL of a seek too
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputRefused(f"{path}: not a PyTorch checkpoint, or cut short") from error


def _refuse_compressed(path: Path) -> None:
    """Raise InputRefused if parts of the file are compressed, which PyTorch never does.

    The memory that is read is thus never larger than the file.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputRefused(f"{path}: not a PyTorch checkpoint, or cut short ({error})") from error
    packed = [part.filename for part in parts if part.file_size > part.compress_size]
    if packed:
        raise InputRefused(
            f"{path}: {packed[0]} is compressed, which PyTorch does not do; unpack the archive and "
            "store it uncompressed"
        )


def _weights_in(loaded: object, path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the place of the network's tensors in the file, and the tensors by name."""
    candidates = list(_candidates(loaded, ""))
    if not candidates:
        raise InputRefused(
            f"{path}: no tensor named {_ANCHOR}, so not a checkpoint of the published 3-D DDPM"
        )
    found, holder, prefix = max(candidates, key=lambda c: "ema" in f"{c[0]}{c[2]}".lower())
    weights: dict[str, Tensor] = {}
    for name, value in holder.items():
        if isinstance(name, str) and name.startswith(prefix):
            if not isinstance(value, Tensor) or (why := _why_not_weights(value)):
                reason = why if isinstance(value, Tensor) else "is not a tensor of weights"
                raise InputRefused(f"{path}: {name} {reason}")
            weights[name.removeprefix(prefix)] = value
    return f"{found}{prefix}".rstrip("."), weights


def _why_not_weights(value: Tensor) -> str:
    """Return why a tensor cannot be a tensor of weights; "" if it can."""
    if type(value) not in (Tensor, nn.Parameter) or value.dtype not in _WEIGHT_TYPES:
        return "is not a tensor of weights"
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return "is a sparse, quantised or empty (meta) tensor; save dense weights"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "repeats the same numbers (an expanded tensor); save it with .contiguous()"
    if not value.isfinite().all():
        return "holds NaN or infinite values"
    return ""


def _candidates(
    loaded: object, place: str, depth: int = 3, searched: dict[int, int] | None = None
) -> Iterator[tuple[str, Mapping[str, object], str]]:
    """Yield (place, mapping, prefix of its names) of every network in nested mappings."""
    searched = {} if searched is None else searched
    if not isinstance(loaded, Mapping) or searched.get(id(loaded), 0) >= depth:
        return
    searched[id(loaded)] = depth  # a mapping may contain another many times
    for name, value in loaded.items():
        if isinstance(name, str) and (name == _ANCHOR or name.endswith(f".{_ANCHOR}")):
            yield place, loaded, name.removesuffix(_ANCHOR)
        yield from _candidates(value, f"{place}{name}.", depth - 1, searched)
