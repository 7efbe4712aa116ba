"""Model files with untrained weights, for tests of all that is not the answer."""

from __future__ import annotations

from pathlib import Path

import torch

from petdiff.methods.model import save_model
from petdiff.methods.registry import METHODS


def fresh_model_file(folder: Path, method: str = "flow3d", name: str = "tiny") -> Path:
    """Write the tiny preset of a method with its first weights to `folder`/`name`.safetensors."""
    torch.manual_seed(0)
    made = METHODS[method].create("tiny")
    path = folder / f"{name}.safetensors"
    save_model(path, made.network, made.card({}), torch.float16)
    return path
