"""The model card: all constants that affect the output are stored with the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from safetensors import safe_open

from petdiff.errors import InputRefused
from petdiff.methods.card import ModelCard, card_from_json
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.local_activity_constants import LocalActivityConstants
from petdiff.methods.local_denoiser import LocalConstants
from petdiff.methods.model import HEADER_KEY, load_model, save_model
from petdiff.methods.registry import METHODS
from petdiff.methods.weights_files import SHIPPED, shipped_models

VERSION_1: dict[str, Any] = {
    "method": "flow3d",
    "architecture": Flow3D.create("tiny").network.architecture.model_dump(mode="json"),
    "process": {"sigma_data": 0.3},
}


def every_value(part: BaseModel, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of the fields of nested records."""
    found = []
    for name in type(part).model_fields:
        value = getattr(part, name)
        inner = every_value(value, (*path, name)) if isinstance(value, BaseModel) else []
        found += inner or [(*path, name)]
    return found


@pytest.mark.parametrize("path", every_value(LocalConstants()))
def test_no_default_of_the_code_replaces_a_missing_entry(path: tuple[str, ...]) -> None:
    card = Flow3D.create("tiny").card({}).model_dump()
    holder = card["constants"]
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    with pytest.raises(InputRefused, match=rf"{path[-1]}: missing"):
        Flow3D.from_card(ModelCard.model_validate(card))


def test_every_constant_of_the_domain_names_its_source() -> None:
    for name, field in LocalActivityConstants.model_fields.items():
        assert field.description, name
        assert any(s in field.description for s in ("lab book", "chosen")), name


def test_constants_of_the_card_affect_the_output_not_those_of_the_code() -> None:
    card = Flow3D.create("tiny").card({}).model_dump()
    card["constants"]["domain"]["far_share"] = 0.5
    card["constants"]["gate_reach"] = 0.5
    y = 1 + torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(0))
    fresh, changed = Flow3D.create("tiny"), Flow3D.from_card(ModelCard.model_validate(card))
    assert (changed.condition(y).decode(torch.zeros(()))).mean() > 1.3 * y.mean()
    fields, x, sigma = fresh.condition(y).fields[None], torch.zeros(1, 1, 16, 16, 16), torch.inf
    outputs = [m.denoise(x, torch.tensor([sigma]), fields)[:, :1] for m in (fresh, changed)]
    assert (outputs[0] - outputs[1]).abs().max() > 0.01


def test_cards_of_version_1_get_the_constants_of_that_version() -> None:
    card = card_from_json(json.dumps(VERSION_1))
    assert card.constants == LocalConstants().model_dump(mode="json")


@pytest.mark.parametrize("name", [name for name in METHODS if name != "flow3d"])
def test_cards_of_version_1_of_other_methods_are_read(name: str) -> None:
    with torch.device("meta"):
        made = METHODS[name].create("paper")
    card = json.loads(made.card({}).model_dump_json())
    process = {k: v for k, v in card["constants"].items() if k not in ("voxels", "clip_suv")}
    if name.startswith("ddpm"):
        process["clip_suv"] = card["constants"]["clip_suv"]
    old = {"method": name, "architecture": card["architecture"], "process": process}
    read = card_from_json(json.dumps(old))
    assert (read.constants, read.domain) == (card["constants"], card["domain"])


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_cards_are_of_this_version(name: str) -> None:
    with safe_open(Path(str(SHIPPED), f"{name}.safetensors"), framework="pt") as file:
        assert json.loads(file.metadata()[HEADER_KEY])["version"] == 2


@pytest.mark.parametrize("text", ["", "[]", "3", '{"method": 3}', '{"version": 3}', "{" * 9999])
def test_an_invalid_card_is_refused(text: str) -> None:
    with pytest.raises(InputRefused, match="unreadable model card"):
        card_from_json(text)


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Flow3D.create("tiny")
    card = made.card({"steps": 3, "psnr_db": {"4": 40.5}}, licence="MIT")
    save_model(tmp_path / "it.safetensors", made.network, card, torch.float16)
    assert load_model(tmp_path / "it.safetensors").card == card
