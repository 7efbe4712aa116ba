"""Small JSON files that belong to a weights file and are stored beside it.

They are not in the header of the weights file, because they are renewed more often than the
weights. Each file holds the SHA-256 of the weights that it belongs to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from petdiff.errors import InputRefused, first_error
from petdiff.runs import whole_file

M = TypeVar("M", bound=BaseModel)


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
