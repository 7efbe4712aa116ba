"""Broken and hostile model files: loaded, or refused in one line, at once and within memory.

PETDIFF_FUZZ_CASES=5000 tries as many of each kind instead of the few hundred of the suite.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from petdiff.errors import InputRefused, UsageError
from petdiff.methods.base import Method
from petdiff.methods.convert import convert
from petdiff.methods.model import HEADER_KEY, load_model, save_model
from petdiff.methods.published_ddpm import PublishedDDPM, Size
from petdiff.methods.published_regression import PublishedRegression
from petdiff.methods.registry import METHODS
from petdiff.networks.published import Architecture, PublishedUNet

CASES = int(os.environ.get("PETDIFF_FUZZ_CASES", 150))
SMALL = Architecture(channels=32, multipliers=(1,), decoder_multipliers=(1, 1), residual_blocks=1)

NASTY: list[Any] = [
    None, True, -1, 0, 1, 3, 10**7, 2**63, -(10**30), 1e308, float("nan"), float("inf"), "", "x",
    "RAS", "9" * 5000, [], [0], [20000] * 3, [10**7, 1, 1], [[1, 2], [3]], {}, {"a": {"b": 1}},
    [1] * 3000, -0.5, 0.5, [1.5, 2], "flow3d", "ddpm3d",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a small model file of every method."""
    folder = tmp_path_factory.mktemp("whole")
    files = {}
    tiny: Size = {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1}
    methods: dict[str, Method] = {n: kind.create("tiny") for n, kind in METHODS.items()}
    methods["published ddpm3d"] = PublishedDDPM.create(tiny)
    methods["published unet3d"] = PublishedRegression.create(tiny)
    for name, method in methods.items():
        path = folder / f"{name}.safetensors"
        save_model(path, method.network, method.card({"steps": 1}), torch.float16)
        files[name] = path.read_bytes()
    return files


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and its tensors."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: dict[str, Any], tensors: bytes) -> bytes:
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + tensors


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values lie in nested dictionaries and lists."""
    found = [at] if at else []
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            found += places(inner, (*at, key))
    return found


def put(value: Any, at: tuple[Any, ...], new: Any) -> None:
    for key in at[:-1]:
        value = value[key]
    value[at[-1]] = new


def spoil_card(content: bytes, rng: random.Random) -> bytes:
    """Replace one to three values of the card."""
    header, tensors = split(content)
    card = json.loads(header["__metadata__"][HEADER_KEY])
    for _ in range(rng.randint(1, 3)):
        put(card, rng.choice(places(card)), copy.deepcopy(rng.choice(NASTY)))
    header["__metadata__"][HEADER_KEY] = json.dumps(card)
    return joined(header, tensors)


def spoil_tensors(content: bytes, rng: random.Random) -> bytes:
    """Change the name, type, shape or place of a tensor, in the header alone."""
    header, tensors = split(content)
    name = rng.choice([key for key in header if key != "__metadata__"])
    it = header[name]
    match rng.randrange(5):
        case 0:
            header[rng.choice(["x", name + ".x", ""])] = header.pop(name)
        case 1:
            it["dtype"] = rng.choice(["I8", "F64", "BOOL", "F8_E4M3", "U64", "BF16", "C64", 3])
        case 2:
            it["shape"] = rng.choice([[], [0], [1], [2**62, 2], it["shape"][::-1], [-1], "x"])
        case 3:
            it["data_offsets"] = rng.choice([[0, 0], [0, 2**63], [5, 1], [-1, 4], [0]])
        case _:
            header.pop(name)
    return joined(header, tensors)


def spoil_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip bytes, most of them in the header, or cut the file short."""
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        reach = 64 if rng.random() < 0.3 else len(changed)
        changed[rng.randrange(reach)] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("spoil", [spoil_card, spoil_tensors, spoil_bytes])
def test_broken_model_files_load_or_are_refused_in_one_line(
    spoil: Callable[[bytes, random.Random], bytes], whole: dict[str, bytes], tmp_path: Path
) -> None:
    rng = random.Random(spoil.__name__)
    path = tmp_path / "model.safetensors"
    for case in range(CASES):
        path.write_bytes(spoil(whole[rng.choice(list(whole))], rng))
        try:
            model = load_model(path)
        except InputRefused as refusal:
            message = str(refusal)
        else:
            assert all(p.isfinite().all() for p in model.network.parameters()), case
            continue
        assert message.startswith(str(path)), (case, message)
        assert "\n" not in message, (case, message)
        assert len(message) < 1500, (case, message[:200])


BOUNDS: list[tuple[str, str, str, Any]] = [
    ("flow3d", "architecture", "widths", [20000] * 3),
    ("flow3d", "architecture", "widths", []),
    ("flow3d", "architecture", "blocks", [10**7, 1, 1]),
    ("flow3d", "architecture", "blocks", [1]),
    ("flow3d", "architecture", "dims", 5),
    ("flow3d", "constants", "sigma_data", 0),
    ("ddpm3d", "constants", "timesteps", 10**9),
    ("published ddpm3d", "architecture", "groups", 0),
    ("published ddpm3d", "architecture", "groups", 3),
    ("published ddpm3d", "architecture", "residual_blocks", 10**6),
    ("published ddpm3d", "architecture", "decoder_multipliers", []),
    ("published ddpm3d", "constants", "timesteps", -1),
    ("published ddpm3d", "constants", "slab", 0),
    ("published ddpm3d", "constants", "axes", "x"),
    ("published ddpm3d", "constants", "axes", "RLS"),
    ("published ddpm3d", "constants", "x0_range", [1, -1]),
    ("published ddpm3d", "constants", "voxel_mm", 0),
    ("published ddpm3d", "constants", "precision", "int4"),
    ("published unet3d", "constants", "window", [0, 64, 64]),
    ("logunet", "architecture", "levels", 40),
    ("logunet", "architecture", "features", 6),
]


@pytest.mark.parametrize(("name", "part", "entry", "value"), BOUNDS)
def test_entry_out_of_bounds_is_refused_by_name(
    name: str, part: str, entry: str, value: Any, whole: dict[str, bytes], tmp_path: Path
) -> None:
    header, tensors = split(whole[name])
    card = json.loads(header["__metadata__"][HEADER_KEY])
    card[part][entry] = value
    header["__metadata__"][HEADER_KEY] = json.dumps(card)
    path = tmp_path / "model.safetensors"
    path.write_bytes(joined(header, tensors))
    with pytest.raises(InputRefused, match="model card, ") as refusal:
        load_model(path)
    assert entry in str(refusal.value) or "blocks" in str(refusal.value) or "groups" in str(refusal)


def test_deeply_nested_card_is_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    header, tensors = split(whole["flow3d"])
    path = tmp_path / "model.safetensors"
    for deep in ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000):
        card = header["__metadata__"][HEADER_KEY]
        start = card.index('"training":')
        broken = card[:start] + f'"training":{deep},"limits":""}}'
        header_of_it = header | {"__metadata__": {HEADER_KEY: broken}}
        path.write_bytes(joined(header_of_it, tensors))
        with pytest.raises(InputRefused, match="unreadable model card"):
            load_model(path)


def test_weights_of_another_type_or_not_finite_are_refused(tmp_path: Path) -> None:
    method = PublishedRegression.create({"channels": 8, "multipliers": (1,), "residual_blocks": 1})
    header = {HEADER_KEY: method.card({}).model_dump_json()}
    path = tmp_path / "model.safetensors"
    for change, says in (
        (lambda w: w.to(torch.int32), "is of type I32"),
        (lambda w: torch.full_like(w, torch.nan), "holds NaN"),
        (lambda w: torch.full(w.shape, 1e300, dtype=torch.float64), "infinite"),
        (lambda w: w[..., None], "has shape"),
    ):
        weights = dict(method.network.state_dict())
        weights["out.2.bias"] = change(weights["out.2.bias"]).contiguous()
        path.write_bytes(save(weights, metadata=header))
        with pytest.raises(InputRefused, match=f"out.2.bias.*{says}"):
            load_model(path)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return PublishedUNet(SMALL).state_dict()


def nasty_tensors(like: Tensor) -> list[Any]:
    """What may lie in a checkpoint instead of a tensor of weights."""
    flat = torch.zeros(4)
    return [
        torch.zeros(1).expand(like.shape),
        torch.zeros(1).expand(2**20, 2**20),
        torch.zeros(like.shape, device="meta"),
        torch.zeros(like.shape).to_sparse(),
        torch.zeros(like.shape, dtype=torch.complex64),
        torch.zeros(like.shape, dtype=torch.int64),
        torch.zeros(like.shape, dtype=torch.float64),
        torch.zeros(like.shape).to(torch.float8_e4m3fn),
        torch.zeros(0),
        torch.zeros(()),
        torch.quantize_per_tensor(flat, 0.1, 0, torch.qint8),
        nn.Parameter(torch.ones(like.shape)),
        like.transpose(0, -1),
        {"deeper": like},
        [like],
        None,
        3,
    ]


def spoil_checkpoint(weights: dict[str, Tensor], rng: random.Random) -> bytes:
    """A checkpoint with some of its tensors replaced, or bytes of its file changed."""
    held: dict[Any, Any] = dict(weights)
    if rng.random() < 0.7:
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(list(weights))
            held[name] = rng.choice(nasty_tensors(weights[name]))
            if rng.random() < 0.2:
                held[rng.choice([7, ("a",), "output_blocks.9.0.in_layers.2.weight"])] = held[name]
    file = io.BytesIO()
    torch.save(held, file)
    content = file.getvalue()
    return spoil_bytes(content, rng) if rng.random() < 0.5 else content


@pytest.mark.filterwarnings("ignore:.*quantized tensor:UserWarning")
def test_broken_checkpoints_are_converted_or_refused_in_one_line(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    rng = random.Random(4)
    path, out = tmp_path / "published.pt", tmp_path / "model.safetensors"
    for case in range(CASES):
        path.write_bytes(spoil_checkpoint(weights, rng))
        try:
            convert(path, out)
        except InputRefused as refusal:
            message = str(refusal)
        else:
            load_model(out)
            continue
        assert message.startswith(str(path)), (case, message)
        assert "\n" not in message, (case, message)


def test_compressed_checkpoint_is_refused_before_it_is_unpacked(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputRefused, match="is compressed"):
        convert(packed, tmp_path / "model.safetensors")


def test_mappings_that_hold_each_other_many_times_are_searched_once(tmp_path: Path) -> None:
    inner: dict[str, Any] = {str(n): {} for n in range(3000)}
    middle = {str(n): inner for n in range(3000)}
    path = tmp_path / "published.pt"
    torch.save({str(n): middle for n in range(3000)}, path)
    with pytest.raises(InputRefused, match="no tensor named"):
        convert(path, tmp_path / "model.safetensors")


def test_tensors_that_share_numbers_are_converted_each_with_its_own(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    tied = dict(weights)
    names = [n for n in weights if n.endswith("in_layers.0.weight")]
    for name in names[1:]:
        if weights[name].shape == weights[names[0]].shape:
            tied[name] = weights[names[0]]
    torch.save(tied, tmp_path / "published.pt")
    convert(tmp_path / "published.pt", tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").sha256


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load_model(tmp_path)
