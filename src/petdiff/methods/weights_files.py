"""Find the weights of a model: those of the package by name, others by path."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from petdiff.errors import UsageError

SHIPPED = resources.files("petdiff") / "weights"


def shipped_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(
        f.name.removesuffix(".safetensors")
        for f in SHIPPED.iterdir()
        if f.name.endswith(".safetensors")
    )


def shipped_or_path(name: str) -> Path:
    """Return the weights file of a shipped model; for other names, the name as a path."""
    shipped = Path(str(SHIPPED)) / f"{name}.safetensors"
    return shipped if os.path.isfile(shipped) else Path(name)


def weights_path(name: str) -> Path:
    """Return the weights file of a shipped model or at a path. Raises UsageError if none exists."""
    path = shipped_or_path(name)
    if os.path.isfile(path):
        return path
    names = ", ".join(shipped_models()) or "none"
    raise UsageError(f"{name} is neither a shipped model ({names}) nor a file")
