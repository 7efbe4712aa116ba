"""The weights file of a model, and the small JSON files that are stored beside it.

These files are not in the header of the weights file, because they are renewed more often than the
weights. Each holds the SHA-256 of the weights that it belongs to.
"""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from petdiff.errors import InputRefused, UsageError, first_error
from petdiff.runs import whole_file

M = TypeVar("M", bound=BaseModel)

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


def file_sha256(weights: Path) -> str:
    """Return the SHA-256 of a weights file as hexadecimal digits."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def path_beside(weights: Path, suffix: str) -> Path:
    """Return the path of a file beside the weights, such as flow3d.calibration.json."""
    return weights.with_name(weights.name.removesuffix(".safetensors") + suffix)


def read_beside(path: Path, kind: type[M], what: str) -> M:
    """Return the content of a file. Raises InputRefused if it is not a valid `kind`.

    what  name of the kind for the message
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputRefused(f"{path}: no {what} ({first_error(error)})") from None


def write_beside(path: Path, content: BaseModel) -> Path:
    """Write a file, which appears complete or not at all, and return its path."""
    with whole_file(path, replace=True) as unfinished:
        unfinished.write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path
