"""Where the weights of models are: those that come with the package, and files."""

from __future__ import annotations

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


def weights_path(name: str) -> Path:
    """Return the weights file of a shipped model or at a path. Raises UsageError if none exists."""
    shipped = Path(str(SHIPPED)) / f"{name}.safetensors"
    if shipped.is_file():
        return shipped
    path = Path(name)
    if path.is_file():
        return path
    names = ", ".join(shipped_models()) or "none"
    raise UsageError(f"{name} is neither a shipped model ({names}) nor a file")
