"""A published checkpoint becomes a model file; anything else is refused in one line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.methods.convert import convert
from petdiff.methods.model import load_model
from petdiff.methods.published_ddpm import PublishedDDPM
from petdiff.networks.published import Architecture, PublishedUNet

SMALL = Architecture(channels=32, multipliers=(1,), decoder_multipliers=(1, 1), residual_blocks=1)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return PublishedUNet(SMALL).state_dict()


def saved(content: Any, tmp_path: Path) -> Path:
    path = tmp_path / "published.pt"
    torch.save(content, path)
    return path


def prefixed(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def test_converted_model_loads_with_the_same_weights(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    said = convert(saved(weights, tmp_path), out)
    model = load_model(out)
    assert isinstance(model.method, PublishedDDPM)
    assert model.method.network.architecture == SMALL
    assert model.card.licence == "CC BY-NC-SA 4.0"
    assert said["parameters"] == sum(tensor.numel() for tensor in weights.values())
    assert said["learned_variance"]
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize(
    ("nest", "found"),
    [
        (lambda w: w, ""),
        (lambda w: prefixed(w, "module."), "module"),
        (lambda w: {"state_dict": prefixed(w, "model."), "epoch": 3}, "state_dict.model"),
        (lambda w: {"ema": w, "opt": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, "ema"),
        (lambda w: {"model": {k: 0 * v for k, v in w.items()}, "ema_model": w}, "ema_model"),
        (lambda w: prefixed(w, "a.") | prefixed(w, "ema."), "ema"),
    ],
)
def test_weights_are_found_at_the_usual_places(
    nest: Callable[[dict[str, Tensor]], Any],
    found: str,
    weights: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    out = tmp_path / "model.safetensors"
    assert convert(saved(nest(weights), tmp_path), out)["found_under"] == found
    assert torch.equal(
        load_model(out).network.state_dict()["out.2.weight"], weights["out.2.weight"]
    )


def test_half_precision_weights_are_widened(weights: dict[str, Tensor], tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    convert(saved({name: tensor.half() for name, tensor in weights.items()}, tmp_path), out)
    assert load_model(out).network.state_dict()["out.2.weight"].dtype == torch.float32


class RunsOnLoading:
    """A pickle that creates a file when its code is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def with_(**changes: Any) -> Callable[[dict[str, Tensor]], dict[str, Any]]:
    return lambda weights: weights | {k.replace("__", "."): v for k, v in changes.items()}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda w: {"weights": torch.zeros(3)}, "no tensor named input_blocks.0.0.weight"),
        (lambda w: [1, 2], "no tensor named"),
        (with_(out__2__bias=torch.zeros(5)), "out.2.bias"),
        (with_(out__2__bias=torch.full((2,), torch.nan)), "out.2.bias holds NaN"),
        (with_(out__2__bias=3.0), "out.2.bias is not a tensor"),
        (with_(middle_block__1__qkv__weight=torch.zeros(3)), "middle_block.1.qkv.weight"),
        (lambda w: {k: v for k, v in w.items() if k != "out.2.bias"}, "out.2.bias is missing"),
    ],
)
def test_another_layout_is_refused_and_the_tensor_is_named(
    spoil: Callable[[dict[str, Tensor]], Any],
    says: str,
    weights: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    path = saved(spoil(weights), tmp_path)
    with pytest.raises(InputRefused) as refusal:
        convert(path, tmp_path / "model.safetensors")
    message = str(refusal.value)
    assert says in message
    assert message.startswith(str(path))
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dump", [torch.save, lambda it, path: path.write_bytes(pickle.dumps(it))])
def test_pickled_code_is_not_run(dump: Callable[[Any, Path], None], tmp_path: Path) -> None:
    path, trace = tmp_path / "published.pt", tmp_path / "it-ran"
    dump({"model": RunsOnLoading(trace)}, path)
    with pytest.raises(InputRefused, match="was run"):
        convert(path, tmp_path / "model.safetensors")
    assert not trace.exists()


def test_truncated_checkpoint_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(weights, tmp_path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(InputRefused):
            convert(path, tmp_path / "model.safetensors")


def test_missing_checkpoint_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        convert(tmp_path / "none.pt", tmp_path / "model.safetensors")


@pytest.mark.real
def test_published_layout_converts(published_weights: dict[str, Tensor], tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    said = convert(saved(published_weights, tmp_path), out)
    assert said["architecture"]["channels"] == 32
    for name, tensor in load_model(out).network.state_dict().items():
        assert torch.equal(tensor, published_weights[name])


def test_a_full_disk_keeps_no_part_of_a_model(weights: dict[str, Tensor], small_disk: Path) -> None:
    published = saved(weights, small_disk.parent)
    (small_disk / "filler").write_bytes(bytes(600_000))
    assert published.stat().st_size > 600_000
    with pytest.raises(PetdiffError, match=r"disk of .* is full"):
        convert(published, small_disk / "model.safetensors")
    assert [file.name for file in small_disk.iterdir()] == ["filler"]
