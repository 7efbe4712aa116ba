"""Training checkpoints: whole or not at all, and read without unpickling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from petdiff.errors import InputRefused


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) aside, then rename it to `path`."""
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; InputRefused where the file is something else."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputRefused(
            f"{path}: not a training checkpoint ({type(error).__name__}); remove it to start anew"
        ) from error
    return state
